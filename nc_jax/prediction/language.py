r"""Surrogates of a language model's head, solved and looked at as the head itself is.

Two questions make four surrogates. What does the model know of the contexts?

- *hard*: every place of the text is a sample of its next token, with a feature of its
  own: class sizes are token counts. Tokens of nearly equal counts share a group.
- *soft*: contexts with the same last token share a feature, whose target is the
  distribution of what follows: J rows of :class:`nc_jax.SoftTargets`.

What does it know of the training?

- *budgets*: the Layer-Peeled Model at the mean squared lengths that the trained network
  has: E_W of the head's centred rows, E_H averaged over next tokens (hard) or over
  clusters of contexts (soft).
- *decay*: weight decay λ alone, nothing fitted. The last layer normalisation gives
  h_i = γ∘x̂_i + β with ‖x̂_i‖² = p for every place i. If over the N places each coordinate
  of x̂ has mean zero and mean square one, then Σ_i‖h_i‖² = N(‖γ‖² + ‖β‖²), so that the
  decay (λ/2)(‖γ‖² + ‖β‖²) is the penalty (λ/2N) Σ_i‖h_i‖²: unconstrained features with
  λ_W = λ and λ_H = λ/N, as for batch normalisation (README.md of this folder).

What fails: (1) Layer normalisation fixes the length of each x̂_i, not the moments of each
coordinate. Σ_c γ_c² (1/N) Σ_i x̂_ic² is ‖γ‖² only if γ is constant or all coordinates have
mean square one; ``norm_energy`` measures it. (2) With γ constant all features have the same
length about β, so that the network cannot give to one context longer features than to
another, which the surrogate does. (3) AdamW's decay is no penalty on the loss: its fixed
point depends on the size of the gradients' moments. No *decay* surrogate is offered for it.
(4) A tied head has a second task, as embedding, which no surrogate knows. (5) The hard
model gives every place a feature of its own; the contexts of rare tokens are mostly
contexts of other tokens too. (6) The width p is less than the number of tokens; the
hard model has no such bound.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from nc_jax.geometry import ClassSizes
from nc_jax.losses import SoftTargets
from nc_jax.metrics.tokens import (
    BinnedRows,
    binned_rows,
    mean_cosine_of_rows,
    nearest_distances,
)
from nc_jax.solvers import FactoredMultiStart, Solution, solve
from nc_jax.surrogates import LayerPeeled, UnconstrainedFeatures
from nc_jax.surrogates.grouped import GroupLogits, data_loss
from nc_jax.training.contexts import ContextRows

TOKEN_SURROGATES = ("hard-budgets", "hard-decay", "soft-budgets", "soft-decay")
# Residual, over the objective, at which a soft solve stops; its gap is reported.
STATIONARITY = 1e-5


class TokenTask(NamedTuple):
    """What is known of the tokens before training.

    Attributes:
        counts: [V] of the training text.
        contexts: clusters of its contexts.
        width: p of the features.
        bins: [V] of frequency.
        rare: [V] booleans.
        merged: see :class:`nc_jax.training.text_measures.Looked`.
        groups: G, most groups of tokens in the hard models.
        iterations: of a soft solve at most.
    """

    counts: np.ndarray
    contexts: ContextRows
    width: int
    bins: np.ndarray
    rare: np.ndarray
    merged: float
    groups: int
    iterations: int


class TokenPrediction(NamedTuple):
    """A surrogate's head, seen as a network's is.

    Attributes:
        norms: [V] lengths of its rows.
        binned: the rows in bins of frequency.
        numbers: ``rare_cosine``, ``merged`` and ``rare_merged`` shares, ``loss``, ``objective``,
            ``gap`` (an upper bound on the distance to the optimum), ``residual`` (NaN of a
            hard model) and ``status``, an :class:`nc_jax.Status`.
    """

    norms: np.ndarray
    binned: BinnedRows
    numbers: dict[str, float]


def merged_sizes(counts: Any, groups: int) -> ClassSizes:
    """Class sizes in at most so many groups, of the least tolerance that allows it.

    Sizes within a group differ by a factor 1 + t at most; each is replaced by the group's
    mean, which keeps the number of samples.

    Raises:
        ValueError: no group.
    """
    counts = np.asarray(counts, float)
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    low, high = 0.0, math.log(counts.max() / counts.min()) + 1e-9
    if _membership(counts, low).max() < groups:
        high = low
    for _ in range(40):
        middle = (low + high) / 2
        fits = _membership(counts, middle).max() < groups
        low, high = (low, middle) if fits else (middle, high)
    membership = _membership(counts, high)
    sizes = np.bincount(membership, counts) / np.bincount(membership)
    return ClassSizes(sizes, tuple(membership.tolist()))


def _membership(counts: np.ndarray, log_tolerance: float) -> np.ndarray:
    """The group [V] of each token, groups filled from the largest count down."""
    order = np.argsort(-counts, kind="stable")
    logs = np.log(counts[order])
    found, group, first = np.empty(len(counts), int), -1, math.inf
    for place, own in zip(order, logs, strict=True):
        if first - own > log_tolerance + 1e-12:
            group, first = group + 1, own
        found[place] = group
    return found


def predict_tokens(
    surrogate: str, task: TokenTask, weight_decay: float, measured: Mapping[str, float]
) -> TokenPrediction:
    """One of :data:`TOKEN_SURROGATES`, solved in float64 where JAX allows it.

    Args:
        surrogate: which.
        task: what is known before training.
        weight_decay: λ > 0, for the *decay* surrogates; they know no other number.
        measured: E_W, E_H of :func:`nc_jax.training.text_measures.measure_text`, for the
            *budgets* surrogates.

    Raises:
        ValueError: an unknown surrogate; *decay* without any, when there is no minimum.
    """
    if surrogate not in TOKEN_SURROGATES:
        known = ", ".join(TOKEN_SURROGATES)
        raise ValueError(f"surrogate must be one of {known}, got {surrogate!r}")
    target, source = surrogate.split("-")
    if source == "decay" and not weight_decay > 0:
        raise ValueError(f"weight_decay must be positive for {surrogate}, got {weight_decay}")
    samples = float(task.counts.sum())
    if target == "hard":
        sizes = merged_sizes(task.counts, task.groups)
        if source == "decay":
            model = UnconstrainedFeatures(sizes, weight_decay, weight_decay / samples)
        else:
            model = LayerPeeled(sizes, measured["weight_energy"], measured["feature_energy"])
        return _of_groups(solve(model), task)
    rows = task.contexts.counts
    options = {"loss": SoftTargets(task.contexts.targets), "dimension": _dimension(task)}
    if source == "decay":
        model = UnconstrainedFeatures(rows, weight_decay, weight_decay / rows.sum(), **options)
    else:
        energies = measured["weight_energy"], measured["context_energy"]
        model = LayerPeeled(rows, *energies, **options)
    return _of_rows(model, task)


def _dimension(task: TokenTask) -> int:
    """The network's width, or the least with which no rank is excluded."""
    return max(task.width, min(task.contexts.targets.shape) - 1)


def _of_rows(model: Any, task: TokenTask) -> TokenPrediction:
    """A soft model, whose rows are few enough to be looked at one by one."""
    solver = FactoredMultiStart(
        restarts=1, max_iterations=task.iterations, stationarity=STATIONARITY
    )
    solution = solve(model, solver)
    rows = np.asarray(solution.classifiers, np.float64)
    rows = rows - rows.mean(axis=0)
    merged = nearest_distances(rows) <= task.merged
    logits = solution.sample_logits
    losses = model.loss(logits, np.arange(len(task.contexts.counts)))
    loss = float(np.asarray(model.sizes.class_weights) @ np.asarray(losses))
    numbers = _numbers(solution, loss, merged, mean_cosine_of_rows(rows[task.rare]), task)
    numbers |= {"residual": float(solution.residual)}
    norms = np.linalg.norm(rows, axis=1)
    return TokenPrediction(norms, binned_rows(rows, task.bins, merged), numbers)


def _numbers(
    solution: Any, loss: float, merged: np.ndarray, cosine: float, task: TokenTask
) -> dict[str, float]:
    return {
        "rare_cosine": cosine,
        "merged": float(np.mean(merged)),
        "rare_merged": float(np.mean(merged[task.rare])),
        "loss": loss,
        "objective": float(solution.objective),
        "gap": float(solution.gap),
        "status": int(solution.status),
    }


def _of_groups(solution: Solution, task: TokenTask) -> TokenPrediction:
    """A hard model, by its groups alone."""
    member = np.asarray(solution.model.sizes.membership)
    lengths = np.asarray(solution.classifier_norms)
    cosines = np.asarray(solution.between_cosines)
    merged = (_nearest_group(solution) <= task.merged)[member]
    size = np.bincount(task.bins)
    means = [_cosine_of(member[task.bins == place], lengths, cosines) for place in range(len(size))]
    binned = BinnedRows(
        np.bincount(task.bins, lengths[member]) / size,
        np.array(means),
        np.bincount(task.bins, merged) / size,
    )
    cosine = _cosine_of(member[task.rare], lengths, cosines)
    numbers = _numbers(solution, _loss_of(solution), merged, cosine, task)
    return TokenPrediction(lengths[member], binned, numbers | {"residual": math.nan})


def _nearest_group(solution: Solution) -> np.ndarray:
    """Distance [G] of a group's rows to the nearest other row, over the longest row."""
    lengths = np.asarray(solution.classifier_norms)
    cosines = np.asarray(solution.between_cosines)
    products = np.where(np.isnan(cosines), 0, cosines) * np.outer(lengths, lengths)
    squares = lengths[:, None] ** 2 + lengths[None] ** 2 - 2 * products
    single = solution.model.sizes.counts < 2
    squares[np.diag_indices(len(lengths))] = np.where(single, np.inf, np.diagonal(squares))
    longest = lengths.max()
    distances = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return distances / (longest if longest > 0 else math.nan)


def _cosine_of(groups: np.ndarray, lengths: np.ndarray, cosines: np.ndarray) -> float:
    """Mean cosine over pairs of the rows whose groups are given; NaN without such a pair."""
    count = np.bincount(groups, minlength=len(lengths)) * (lengths > 0)
    pairs = np.outer(count, count) - np.diag(count)
    total = pairs.sum()
    return float(np.sum(np.where(pairs > 0, cosines, 0) * pairs) / total) if total else math.nan


def _loss_of(solution: Solution) -> float:
    """The mean loss without the penalties."""
    point = GroupLogits(solution.within, solution.between)
    return float(jax.jit(data_loss)(solution.model, point))
