r"""Surrogates of a language model's head, measured in the same way as the head.

What does a surrogate know about the contexts?

- *hard*: every position of the text is a sample of its next token, with its own feature:
  class sizes are token counts. Tokens with nearly equal counts share a group.
- *soft*: contexts with the same last token share a feature, whose target is the
  distribution of the next token: J rows of :class:`nc_jax.SoftTargets`.

What does it know about the training?

- *budgets*: the Layer-Peeled Model with the mean squared lengths of the trained
  network: E_W of the head's centred rows, E_H averaged over next tokens (hard) or over
  clusters of contexts (soft).
- *decay*: only the weight decay λ. The last layer normalisation gives h_i = γ∘x̂_i + β with
  ‖x̂_i‖² = p for every position i. *If* over the N positions each coordinate of x̂ has mean zero
  and mean square one, then Σ_i‖h_i‖² = N(‖γ‖² + ‖β‖²), and the decay of γ and β is the
  penalty (λ/2N) Σ_i‖h_i‖²: unconstrained features with λ_W = λ and λ_H = λ/N, as for batch
  normalisation (README.md of this folder).
- *norm*: only weight decay λ and width p, with the layer normalisation in the model
  (:mod:`nc_jax.prediction.normalised`); not convex, without a certificate.

Limits. Layer normalisation fixes the length of each x̂_i, not the moments of each
coordinate: features of low rank cost less than in *decay* (``norm_energy`` measures it);
*norm* corrects this. AdamW's decay is not a penalty on the loss, and its fixed point depends
on the sizes of the gradients: *decay* and *norm* do not apply. A tied head has a second
task, as the embedding, which no surrogate includes. The hard models give every position its
own feature and do not know the width; in text the contexts of a rare token are mostly also
contexts of other tokens. The soft models know only the last token of a context.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from nc_jax.datasets.contexts import ContextRows
from nc_jax.geometry import ClassSizes, merge_sizes
from nc_jax.losses import SoftTargets
from nc_jax.metrics.tokens import (
    BinnedRows,
    binned_rows,
    mean_cosine_of_rows,
    nearest_distances,
    participation,
)
from nc_jax.prediction.normalised import solve_normalised
from nc_jax.solvers import FactoredMultiStart, Solution, solve
from nc_jax.solvers.solution import certified
from nc_jax.surrogates import LayerPeeled, UnconstrainedFeatures
from nc_jax.surrogates.grouped import GroupLogits, data_loss

TOKEN_SURROGATES = ("hard-budgets", "hard-decay", "soft-budgets", "soft-decay", "soft-norm")
# Residual over the objective up to which a soft solve counts; it aims at a thousandth of it.
STATIONARITY = 3e-3


def applies(surrogate: str, optimiser: str, decay: float) -> bool:
    """Whether a surrogate exists for a run: from weight decay only if that is a penalty.

    Args:
        surrogate: a name in :data:`TOKEN_SURROGATES`.
        optimiser: 'sgd' or 'adamw'.
        decay: λ.
    """
    return surrogate.endswith("budgets") or (optimiser == "sgd" and decay > 0)


class TokenTask(NamedTuple):
    """The information about the tokens before training.

    Attributes:
        counts: [V] counts of the tokens in the training text.
        contexts: clusters of its contexts.
        width: p, the dimension of the features.
        bins: [V] frequency bin of each token.
        rare: [V] booleans, the rare tokens.
        merged: see :class:`nc_jax.training.Looked`.
        groups: G, the largest number of groups of tokens in the hard models.
        iterations: largest number of iterations of a soft solve.
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
    """The head of a surrogate, with the same measures as that of a network.

    Attributes:
        norms: [V] lengths of its rows.
        binned: the rows averaged in bins of frequency.
        numbers: ``rare_norm``, ``rare_cosine``, the shares ``merged`` and ``rare_merged``,
            ``loss``, ``objective``, ``gap`` (an upper bound on the distance to the optimum;
            infinite if there is none), ``residual`` and ``participation`` of the rows (NaN
            for a hard model).
    """

    norms: np.ndarray
    binned: BinnedRows
    numbers: dict[str, float]


def merged_sizes(counts: Any, groups: int) -> ClassSizes:
    """Class sizes in at most ``groups`` groups, with the smallest tolerance that allows it.

    See :func:`nc_jax.merge_sizes`: the gap of a solution holds for the original tokens.

    Raises:
        ValueError: ``groups`` is below one.
    """
    counts = np.asarray(counts, float)
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    low, high = 0.0, counts.max() / counts.min()
    exact = merge_sizes(counts, 0.0)
    if exact.num_groups <= groups:
        return exact
    for _ in range(40):
        middle = (low + high) / 2
        fits = merge_sizes(counts, middle).num_groups <= groups
        low, high = (low, middle) if fits else (middle, high)
    return merge_sizes(counts, high)


def predict_tokens(
    surrogate: str, task: TokenTask, weight_decay: float, measured: Mapping[str, float]
) -> TokenPrediction:
    """Solves one of :data:`TOKEN_SURROGATES`, in float64 if JAX allows it.

    Args:
        surrogate: name of the surrogate.
        task: the information before training.
        weight_decay: λ > 0, for *decay* and *norm*, which use no other number.
        measured: E_W and E_H from :func:`nc_jax.training.measure_text`, for
            the *budgets* surrogates.

    Raises:
        ValueError: an unknown surrogate; *decay* or *norm* without weight decay, because
            there is no minimum then.
    """
    if surrogate not in TOKEN_SURROGATES:
        known = ", ".join(TOKEN_SURROGATES)
        raise ValueError(f"surrogate must be one of {known}, got {surrogate!r}")
    target, source = surrogate.split("-")
    if source != "budgets" and not weight_decay > 0:
        raise ValueError(f"weight_decay must be positive for {surrogate}, got {weight_decay}")
    samples = float(task.counts.sum())
    if target == "hard":
        sizes = merged_sizes(task.counts, task.groups)
        if source == "decay":
            model = UnconstrainedFeatures(sizes, weight_decay, weight_decay / samples)
        else:
            model = LayerPeeled(sizes, measured["weight_energy"], measured["feature_energy"])
        return _of_groups(certified(solve(model)), task)
    if source == "norm":
        found = solve_normalised(task.contexts, task.width, weight_decay, task.iterations)
        numbers = {"loss": found.loss, "objective": found.objective, "gap": math.inf}
        return _of_rows(found.rows, numbers | {"residual": found.residual}, task)
    rows = task.contexts.counts
    options = {"loss": SoftTargets(task.contexts.targets), "dimension": task.width}
    if source == "decay":
        model = UnconstrainedFeatures(rows, weight_decay, weight_decay / rows.sum(), **options)
    else:
        energies = measured["weight_energy"], measured["context_energy"]
        model = LayerPeeled(rows, *energies, **options)
    return _of_soft(model, task)


def _of_soft(model: Any, task: TokenTask) -> TokenPrediction:
    """Solves a soft model with the factored solver."""
    solver = FactoredMultiStart(
        restarts=1, max_iterations=task.iterations, stationarity=STATIONARITY
    )
    solution = solve(model, solver)
    losses = model.loss(solution.sample_logits, np.arange(len(task.contexts.counts)))
    loss = float(np.asarray(model.sizes.class_weights) @ np.asarray(losses))
    numbers = {"loss": loss, "objective": float(solution.objective), "gap": float(solution.gap)}
    numbers |= {"residual": float(solution.residual)}
    return _of_rows(np.asarray(solution.classifiers), numbers, task)


def _of_rows(rows: np.ndarray, numbers: dict[str, float], task: TokenTask) -> TokenPrediction:
    """A prediction from a head [V, p] whose rows are processed one by one."""
    rows = rows.astype(np.float64) - rows.mean(axis=0)
    merged = nearest_distances(rows) <= task.merged
    norms = np.linalg.norm(rows, axis=1)
    own = _of_rare(norms, merged, mean_cosine_of_rows(rows[task.rare]), task)
    numbers = numbers | own | {"participation": participation(rows)}
    return TokenPrediction(norms, binned_rows(rows, task.bins, merged), numbers)


def _of_rare(
    norms: np.ndarray, merged: np.ndarray, cosine: float, task: TokenTask
) -> dict[str, float]:
    return {
        "rare_norm": float(np.mean(norms[task.rare])),
        "rare_cosine": cosine,
        "merged": float(np.mean(merged)),
        "rare_merged": float(np.mean(merged[task.rare])),
    }


def _of_groups(solution: Solution, task: TokenTask) -> TokenPrediction:
    """A prediction from a hard model, computed by groups."""
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
    numbers = {
        "loss": _loss_of(solution),
        "objective": float(solution.objective),
        "gap": float(solution.gap),
        "residual": math.nan,
        "participation": math.nan,
        **_of_rare(lengths[member], merged, cosine, task),
    }
    return TokenPrediction(lengths[member], binned, numbers)


def _nearest_group(solution: Solution) -> np.ndarray:
    """Distance [G] of a group's rows to the nearest other row, relative to the longest row."""
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
    """Mean cosine over pairs of rows, given the group of each; NaN if there is no pair."""
    count = np.bincount(groups, minlength=len(lengths)) * (lengths > 0)
    pairs = np.outer(count, count) - np.diag(count)
    total = pairs.sum()
    return float(np.sum(np.where(pairs > 0, cosines, 0) * pairs) / total) if total else math.nan


def _loss_of(solution: Solution) -> float:
    """The mean loss without penalties."""
    point = GroupLogits(solution.within, solution.between)
    return float(jax.jit(data_loss)(solution.model, point))
