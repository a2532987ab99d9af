"""The same two-group programs, given to general convex solvers.

The program has two forms. `semidefinite`: the 2K×2K semidefinite program over
all logits, as published. `four_numbers`: the symmetry-reduced program over
(α, δ, b, c) with exponential and second-order cones, the strongest form that can be given to
a cone solver; `moreau` gets a batch of these in one call.
"""

import importlib
import time
from typing import Any, NamedTuple

import numpy as np


def _optional(name: str) -> Any:
    """A module of the extra `peers`, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


cp = _optional("cvxpy")
moreau = _optional("moreau")


class PeerResult(NamedTuple):
    """The result of a peer and its time.

    Attributes:
        name: name of the peer and form of the program.
        objectives: [n] optimal values.
        seconds: time for all n instances, without building or compiling.
    """

    name: str
    objectives: np.ndarray
    seconds: float


def clarabel_semidefinite(
    majority: int, minority: int, ratios: np.ndarray, budget: float
) -> PeerResult:
    """CVXPY + CLARABEL on the semidefinite program, compiled once, one ratio after another."""
    classes = majority + minority
    weights = cp.Parameter(classes, nonneg=True)
    lifted = cp.Variable((2 * classes, 2 * classes), PSD=True)
    logits = lifted[:classes, classes:]
    losses = cp.log_sum_exp(logits, axis=1) - cp.diag(logits)
    bound = [cp.trace(lifted) <= 2 * classes * budget]
    problem = cp.Problem(cp.Minimize(weights @ losses), bound)

    def weigh(ratio: float) -> None:
        sizes = np.r_[np.full(majority, ratio), np.ones(minority)]
        weights.value = sizes / sizes.sum()

    return _one_by_one("CVXPY + CLARABEL, 2K×2K SDP", problem, weigh, ratios)


def clarabel_four_numbers(
    majority: int, minority: int, ratios: np.ndarray, budget: float
) -> PeerResult:
    """CVXPY + CLARABEL on the four-number program, compiled once."""
    problem, shares = _four_numbers(majority, minority, budget)

    def weigh(ratio: float) -> None:
        shares.value = _shares(majority, minority, ratio)

    return _one_by_one("CVXPY + CLARABEL, four numbers", problem, weigh, ratios)


def _one_by_one(name: str, problem, weigh, ratios: np.ndarray) -> PeerResult:
    settings = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-9)
    weigh(ratios[0])
    problem.solve(solver=cp.CLARABEL, **settings)
    objectives = []
    start = time.perf_counter()
    for ratio in ratios:
        weigh(ratio)
        objectives.append(problem.solve(solver=cp.CLARABEL, **settings))
    return PeerResult(name, np.array(objectives), time.perf_counter() - start)


def moreau_batch(majority: int, minority: int, ratios: np.ndarray, budget: float) -> PeerResult:
    """Moreau's own batched interface on the four-number program.

    CVXPY compiles the program once; the ratio enters only its linear cost, so
    the costs at two ratios determine the costs at all others.
    """
    problem, shares = _four_numbers(majority, minority, budget)
    costs, offsets = [], []
    for share in ([1.0, 0.0], [0.0, 1.0]):
        shares.value = np.array(share)
        data, _, _ = problem.get_problem_data(cp.CLARABEL)
        costs.append(data["c"])
        offsets.append(data["param_prob"].apply_parameters()[1])
    dims = data["dims"]
    matrix = data["A"].tocsr()
    variables = len(costs[0])
    solver = moreau.CompiledSolver(
        n=variables,
        m=matrix.shape[0],
        P_row_offsets=np.zeros(variables + 1, int),
        P_col_indices=np.zeros(0, int),
        A_row_offsets=matrix.indptr,
        A_col_indices=matrix.indices,
        cones=moreau.Cones(
            num_zero_cones=dims.zero,
            num_nonneg_cones=dims.nonneg,
            so_cone_dims=list(dims.soc),
            num_exp_cones=dims.exp,
        ),
        settings=moreau.Settings(batch_size=len(ratios), device="cpu"),
    )
    solver.setup(np.zeros(0), matrix.data)
    weights = np.array([_shares(majority, minority, ratio) for ratio in ratios])
    linear = weights @ np.array(costs)
    right_hand = np.tile(data["b"], (len(ratios), 1))
    solver.solve(linear, right_hand)
    start = time.perf_counter()
    solver.solve(linear, right_hand)
    seconds = time.perf_counter() - start
    objectives = np.asarray(solver.info.obj_val) + weights @ np.array(offsets)
    return PeerResult("moreau batch, four numbers", objectives, seconds)


def _shares(majority: int, minority: int, ratio: float) -> np.ndarray:
    """Shares of all samples in the two groups."""
    samples = np.array([ratio * majority, minority])
    return samples / samples.sum()


def _four_numbers(majority: int, minority: int, budget: float):
    """The program over α, δ, b, c, and its parameter: the groups' shares."""
    classes = majority + minority
    alpha, delta = cp.Variable(nonneg=True), cp.Variable(nonneg=True)
    b, c = cp.Variable(), cp.Variable()
    shares = cp.Parameter(2, nonneg=True)

    def loss(own: int, others: int, gap, across):
        """log(1 + (own − 1) e^{−gap} + others · e^{across − a₁}), with zero row sums."""
        to_across = across - gap + (gap + others * across) / own
        terms = [0, to_across + np.log(others)]
        if own > 1:
            terms.append(-gap + np.log(own - 1))
        return cp.log_sum_exp(cp.hstack(terms))

    coupling = cp.norm(
        cp.hstack([np.sqrt(classes * minority) * b, np.sqrt(classes * majority) * c])
    )
    spent = (majority - 1) * alpha + (minority - 1) * delta + coupling
    losses = cp.hstack([loss(majority, minority, alpha, b), loss(minority, majority, delta, c)])
    problem = cp.Problem(cp.Minimize(shares @ losses), [spent <= classes * budget])
    return problem, shares
