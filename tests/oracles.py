"""Independent convex solver of the convex surrogates: CVXPY with CLARABEL."""

import warnings
from typing import NamedTuple

import cvxpy as cp
import numpy as np


class Oracle(NamedTuple):
    """A feasible point found by the oracle: its logits [K, K] and their objective."""

    objective: float
    logits: np.ndarray


def objective_of(logits: np.ndarray, weights: np.ndarray, loss: str) -> float:
    """Σ π_k L(Z_k, k) in NumPy, from the definitions."""
    own = np.diag(logits)
    if loss == "cross-entropy":
        peak = logits.max(axis=1)
        rows = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1)) - own
    else:
        rows = 0.5 * np.sum((logits - np.eye(len(own))) ** 2, axis=1)
    return float(weights @ rows)


def clarabel_layer_peeled(sizes: np.ndarray, budget: float, loss: str) -> Oracle:
    """Minimises over the logits under ‖Z‖_* ≤ K E, as a semidefinite program.

    Equation 15 of Fang et al. 2021 in the form [[A, Z], [Zᵀ, B]] ⪰ 0 with
    tr A + tr B ≤ 2 K E. The point is scaled into the nuclear ball afterwards,
    so that its objective is an honest upper bound.
    """
    classes = len(sizes)
    weights = sizes / sizes.sum()
    lifted = cp.Variable((2 * classes, 2 * classes), PSD=True)
    logits = lifted[:classes, classes:]
    if loss == "cross-entropy":
        rows = cp.log_sum_exp(logits, axis=1) - cp.diag(logits)
    else:
        rows = 0.5 * cp.sum(cp.square(logits - np.eye(classes)), axis=1)
    radius = classes * budget
    problem = cp.Problem(cp.Minimize(weights @ rows), [cp.trace(lifted) <= 2 * radius])
    _solve(problem)
    found = np.asarray(logits.value)
    norm = np.linalg.svd(found, compute_uv=False).sum()
    found = found * min(1.0, radius / norm)
    return Oracle(objective_of(found, weights, loss), found)


def clarabel_unconstrained(
    sizes: np.ndarray, penalty: float, loss: str, bias_penalty: float | None
) -> float:
    """Optimal value of min Σ π_k L(Z_k + b, k) + λ_Z ‖D^½ Z‖_* + (λ_b/2)‖b‖².

    Hong and Ling's convex form, as a semidefinite program; the value is that
    of the point found, so an honest upper bound.
    """
    classes = len(sizes)
    weights = sizes / sizes.sum()
    # In units of √(largest size), which keeps the program well scaled.
    root = np.sqrt(sizes / sizes.max())
    price = penalty * np.sqrt(sizes.max())
    lifted = cp.Variable((2 * classes, 2 * classes), PSD=True)
    scaled = lifted[:classes, classes:]
    logits = cp.multiply(scaled, 1 / root[:, None])
    bias = cp.Variable(classes)
    biased = logits + np.ones((classes, 1)) @ cp.reshape(bias, (1, classes), order="C")
    if loss == "cross-entropy":
        rows = cp.log_sum_exp(biased, axis=1) - cp.diag(biased)
    else:
        rows = 0.5 * cp.sum(cp.square(biased - np.eye(classes)), axis=1)
    cost = weights @ rows + 0.5 * price * cp.trace(lifted)
    cost = cost + 0.5 * (bias_penalty or 0.0) * cp.sum_squares(bias)
    constraints = []
    if bias_penalty is None:
        constraints = [bias == 0]
    elif loss == "cross-entropy":
        # A shift-invariant loss does not see a constant in the bias.
        constraints = [cp.sum(bias) == 0]
    _solve(cp.Problem(cp.Minimize(cost), constraints))
    x, b = np.asarray(scaled.value), np.asarray(bias.value)
    norm = np.linalg.svd(x, compute_uv=False).sum()
    value = objective_of(x / root[:, None] + b, weights, loss)
    return value + price * norm + 0.5 * (bias_penalty or 0.0) * float(b @ b)


class Rows(NamedTuple):
    """Losses ω_k (log Σ_j exp u_kj − Σ_j T_kj u_kj) of J rows, u_kj = Δ_j z_kj + B_kj."""

    weights: np.ndarray
    scales: np.ndarray
    shifts: np.ndarray
    targets: np.ndarray

    def value(self, logits: np.ndarray) -> float:
        """Their sum in NumPy."""
        u = self.scales * logits + self.shifts
        peak = u.max(axis=1)
        losses = peak + np.log(np.exp(u - peak[:, None]).sum(axis=1)) - (self.targets * u).sum(1)
        return float(self.weights @ losses)


def clarabel_rows(
    rows: Rows,
    radius: float | None = None,
    row_scale: np.ndarray | None = None,
    penalty: float = 0.0,
    bias_penalty: float | None = None,
) -> Oracle:
    """Least value of rows of logits Z + b with X = D^½ Z in a nuclear ball or at a price.

    An honest upper bound: the value of the point found, scaled into the ball. The logits
    returned are without the bias.
    """
    count, outputs = rows.targets.shape
    row_scale = np.ones(count) if row_scale is None else row_scale
    unit = row_scale.min()
    lifted = cp.Variable((count + outputs, count + outputs), PSD=True)
    scaled = lifted[:count, count:]
    bias = cp.Variable(outputs)
    biased = cp.multiply(scaled, (row_scale / unit)[:, None] * np.ones((1, outputs)))
    biased = biased + np.ones((count, 1)) @ cp.reshape(bias, (1, outputs), order="C")
    u = cp.multiply(np.ones((count, 1)) * rows.scales, biased) + rows.shifts
    losses = cp.log_sum_exp(u, axis=1) - cp.sum(cp.multiply(rows.targets, u), axis=1)
    cost = rows.weights @ losses + 0.5 * penalty / unit * cp.trace(lifted)
    cost = cost + 0.5 * (bias_penalty or 0.0) * cp.sum_squares(bias)
    constraints = [bias == 0] if bias_penalty is None else []
    if bias_penalty == 0.0:
        constraints = [bias[0] == 0]
    if radius is not None:
        constraints.append(cp.trace(lifted) <= 2 * radius)
    _solve(cp.Problem(cp.Minimize(cost), constraints))
    x, b = np.asarray(scaled.value), np.asarray(bias.value)
    norm = np.linalg.svd(x, compute_uv=False).sum()
    if radius is not None:
        x = x * min(1.0, radius / norm)
    logits = row_scale[:, None] / unit * x
    value = rows.value(logits + b) + penalty / unit * norm
    return Oracle(value + 0.5 * (bias_penalty or 0.0) * float(b @ b), logits)


def _solve(problem: cp.Problem) -> None:
    """CLARABEL, as tightly as it will go."""
    for tolerance in (1e-10, 1e-9, 1e-8):
        settings = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), tolerance)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                problem.solve(solver=cp.CLARABEL, **settings)
        except cp.SolverError:
            continue
        if problem.status == cp.OPTIMAL:
            break
