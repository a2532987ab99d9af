"""Independent convex solver of the Layer-Peeled Model: CVXPY with CLARABEL."""

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
    found = np.asarray(logits.value)
    norm = np.linalg.svd(found, compute_uv=False).sum()
    found = found * min(1.0, radius / norm)
    return Oracle(objective_of(found, weights, loss), found)
