"""Two groups of classes under cross-entropy: one monotone scalar equation.

The optimum of the two-group program (:mod:`nc_jax.surrogates.grouped`) has zero
row sums, so M = s u wᵀ with a fixed unit w and u = (cos φ, −sin φ). Within- and
between-group stationarity give ratios of softmax probabilities as functions of
φ alone,

    p₂/p₃ = (√(K K_B)/cos φ − K_B)/K_A,   q₂/q = (√(K K_A)/sin φ − K_A)/K_B,

(p₂, p₃: another majority, a minority class in a majority row; q₂, q: another
minority, a majority class in a minority row). Their logarithms are linear in
α, δ and s; with the budget (K_A−1)α + (K_B−1)δ + s = τ all four numbers follow
from φ. One equation remains, for t = ln tan φ:

    F(t) = ln R + ln p₃ − ln q + t − ½ ln(K_A/K_B) = 0.

If its root has δ < 0 the group has collapsed: then δ = 0, the budget determines s without
it, and the equation is solved again on that branch (the branches meet in a
kink, at which Newton's method would cycle). F increases with slope at
least one (observed on random programs; only the number of steps depends on this,
because the duality gap certifies each answer). Vanished coupling (s = 0) is
decided by its own closed condition. The method is derived for this project
from the program of Fang et al. 2021, Eq. 7.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.immutable import immutable, set_fields
from nc_jax.losses import CrossEntropy
from nc_jax.solvers.acceptance import convex_refusal, require_accepted
from nc_jax.solvers.certificates import Certificate
from nc_jax.solvers.solution import Solution, default_tolerance, label
from nc_jax.surrogates.counted import counted
from nc_jax.surrogates.grouped import GroupedProgram, GroupLogits
from nc_jax.surrogates.layer_peeled import LayerPeeled

# Newton steps if neither group has more than so many times the classes of the other.
STEPS, EQUAL_ENOUGH = 7, 20


class _Numbers(NamedTuple):
    """α, δ, the entries b (majority row) and c (minority row), and s."""

    alpha: Array
    delta: Array
    b: Array
    c: Array
    s: Array


class _Setting(NamedTuple):
    """K_A, K_B, K, τ, ln R with the larger classes as group A."""

    major: Array
    minor: Array
    total: Array
    radius: Array
    log_ratio: Array


def _numbers(t: Array, setting: _Setting, collapsed: Array) -> _Numbers:
    """All four numbers at t = ln tan φ, on the separated or the collapsed branch."""
    major, minor, total, radius, _ = setting
    tangent = jnp.exp(t)
    secant = jnp.sqrt(1 + tangent**2)
    cosine, sine = 1 / secant, tangent / secant
    several_major, several_minor = major > 1, minor > 1

    def log_ratio(own: Array, other: Array, direction: Array, several: Array) -> Array:
        ratio = (jnp.sqrt(total * other) / direction - other) / own
        return jnp.where(several, jnp.log(jnp.where(several, ratio, 1)), 0)

    alpha_offset = major * log_ratio(major, minor, cosine, several_major)
    delta_offset = minor * log_ratio(minor, major, sine, several_minor)
    alpha_slope = jnp.sqrt(total / minor) * cosine
    delta_slope = jnp.sqrt(total / major) * sine

    numerator = radius + (major - 1) * alpha_offset
    denominator = 1 + (major - 1) * alpha_slope
    s = (numerator + (minor - 1) * delta_offset) / (denominator + (minor - 1) * delta_slope)
    s = jnp.maximum(jnp.where(collapsed, numerator / denominator, s), 0)
    flat = collapsed | ~several_minor
    return _Numbers(
        alpha=jnp.where(several_major, s * alpha_slope - alpha_offset, 0),
        delta=jnp.where(flat, 0, s * delta_slope - delta_offset),
        b=-s * cosine / jnp.sqrt(total * minor),
        c=-s * sine / jnp.sqrt(total * major),
        s=s,
    )


def _to_across(own: Array, others: Array, alpha: Array, across: Array) -> Array:
    """Logarithm of p_across / p_own in a row whose logits sum to zero."""
    return across - alpha + (alpha + others * across) / own


def _log_across(own: Array, others: Array, alpha: Array, across: Array) -> Array:
    """Logarithm of p_across; also safe for α ≪ 0, which occurs during the search."""
    to_across = _to_across(own, others, alpha, across)
    peak = jax.lax.stop_gradient(jnp.maximum(jnp.maximum(-alpha, to_across), 0))
    rest = (own - 1) * jnp.exp(-alpha - peak) + others * jnp.exp(to_across - peak)
    return to_across - peak - jnp.log(jnp.exp(-peak) + rest)


def _row(own: Array, others: Array, alpha: Array, across: Array) -> tuple[Array, Array]:
    """Σ_{j≠own} p_j / p_own, and the logarithm of p_across / p_own; for α ≥ 0."""
    to_across = _to_across(own, others, alpha, across)
    missing = (own - 1) * jnp.exp(-alpha) + others * jnp.exp(to_across)
    return missing, to_across


def _balance(t: Array, setting: _Setting, collapsed: Array) -> tuple[Array, Array]:
    """F(t) on one branch, and δ."""
    major, minor, _, _, log_ratio = setting
    x = _numbers(t, setting, collapsed)
    log_p3 = _log_across(major, minor, x.alpha, x.b)
    log_q = _log_across(minor, major, x.delta, x.c)
    return log_ratio + log_p3 - log_q + t - 0.5 * jnp.log(major / minor), x.delta


def _solve(setting: _Setting, steps: int | Array) -> _Numbers:
    """Newton's method from the balanced end, on the first branch and then on the right one."""
    upper = 0.5 * jnp.log(setting.major / setting.minor)
    lower = upper - setting.log_ratio

    def step(count: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        t, collapsed = state
        value, slope, delta = jax.jvp(
            lambda x: _balance(x, setting, collapsed), (t,), (jnp.ones_like(t),), has_aux=True
        )
        # One loop for both branches is compiled in less time than two; between them is a step
        # that only chooses the branch.
        chooses = count == steps
        moved = jnp.clip(t - value / slope, lower, upper)
        return jnp.where(chooses, t, moved), jnp.where(chooses, delta < 0, collapsed)

    start = upper, jnp.zeros_like(upper, bool)
    last = steps + 1 + _second_steps(steps)
    t, collapsed = jax.lax.fori_loop(0, last, step, start)
    return _numbers(t, setting, collapsed)


def _steps(counts: np.ndarray | Array) -> int | Array:
    """Newton steps that reach the accuracy of rounding, found on random programs.

    From the balanced end the first step goes too far if a few large classes face many small ones.
    """
    # Where the counts are known, so is the length of the loop when it is compiled.
    known = isinstance(counts, np.ndarray)
    own: Any = np if known else jnp
    unequal = own.max(counts) / own.min(counts)
    more = 1 + own.ceil(2 * own.log10(unequal / 10))
    steps = STEPS + own.where(unequal > EQUAL_ENOUGH, more, 0)
    return int(steps) if known else steps.astype(int)


def _second_steps(steps: int | Array) -> int | Array:
    """Newton steps on the second branch, which start close to its root."""
    # A traced number is never smaller than the default.
    return steps - 2 if isinstance(steps, Array) else max(steps - 2, 1)


def _vanished(setting: _Setting) -> Array:
    """Whether b = c = 0 is optimal: the coupling block of the gradient is small enough."""
    major, minor, total, radius, log_ratio = setting
    alpha = radius / jnp.maximum(major - 1, 1)
    missing, to_minor = _row(major, minor, alpha, jnp.zeros_like(alpha))
    p3 = jnp.exp(to_minor) / (1 + missing)
    p2 = jnp.exp(-alpha) / (1 + missing)
    slope = major * p2 + minor * p3
    coupling = jnp.exp(2 * log_ratio) * (slope**2 - total * minor * p3**2)
    return (major > 1) & (coupling >= major / total)


def _certificate(x: _Numbers, setting: _Setting) -> Certificate:
    """The duality gap in closed form: two groups need no SVD."""
    major, minor, total, radius, log_ratio = setting
    missing_a, to_minor = _row(major, minor, x.alpha, x.b)
    missing_b, to_major = _row(minor, major, x.delta, x.c)
    ratio = jnp.exp(log_ratio)
    samples = ratio * major + minor
    weight_a, weight_b = ratio / samples, 1 / samples
    p1, q1 = 1 / (1 + missing_a), 1 / (1 + missing_b)
    p2, p3 = p1 * jnp.exp(-x.alpha), p1 * jnp.exp(to_minor)
    q2, q = q1 * jnp.exp(-x.delta), q1 * jnp.exp(to_major)
    slope_a = jnp.where(major > 1, weight_a * (major * p2 + minor * p3), 0)
    slope_b = jnp.where(minor > 1, weight_b * (minor * q2 + major * q), 0)
    # Slopes in b and c; the unit vector of the coupling sets their scale.
    in_b = weight_a * total * minor * p3
    in_c = weight_b * total * major * q
    coupling = jnp.hypot(in_b / jnp.sqrt(total * minor), in_c / jnp.sqrt(total * major))
    multiplier = jnp.maximum(jnp.maximum(slope_a, slope_b), coupling)
    norm = (major - 1) * jnp.abs(x.alpha) + (minor - 1) * jnp.abs(x.delta) + x.s
    inner = (
        in_b * x.b + in_c * x.c - (major - 1) * slope_a * x.alpha - (minor - 1) * slope_b * x.delta
    )
    objective = weight_a * major * jnp.log1p(missing_a) + weight_b * minor * jnp.log1p(missing_b)
    gap = jnp.maximum(inner + radius * multiplier, 0)
    return Certificate(objective, gap, multiplier, norm)


@immutable(static=("steps",))
class TwoGroupRoot:
    """Exact solver of two-group cross-entropy models; a fixed number of steps.

    Attributes:
        tolerance: duality gap up to which a lane counts as converged; by default
            1e−9 in float64 and 1e−5 in float32.
        steps: number of Newton steps on the first branch, the same for every lane; by default 7,
            and up to twice as many if one group has far more classes than the other. There are two
            fewer on the second branch.
    """

    tolerance: Any
    steps: int | None

    def __init__(self, tolerance: Any = None, steps: int | None = None):
        set_fields(self, tolerance=tolerance, steps=steps)

    def brief(self, model: LayerPeeled) -> bool:
        """True: two roots take microseconds."""
        return True

    def refusal(self, model: Any) -> Exception | None:
        """The error for another model, number of groups, or loss; None otherwise."""
        if not isinstance(model, LayerPeeled):
            return ValueError(f"TwoGroupRoot needs a LayerPeeled model, got {type(model).__name__}")
        if model.sizes.num_groups != 2 or not isinstance(model.loss, CrossEntropy):
            return ValueError(
                "TwoGroupRoot needs two groups and CrossEntropy, got "
                f"{model.sizes.num_groups} groups and {type(model.loss).__name__}"
            )
        if model.sizes.merged:
            return ValueError("TwoGroupRoot needs unmerged sizes; use ReducedInteriorPoint")
        return convex_refusal(self, model)

    def needed(self, model: LayerPeeled) -> LayerPeeled:
        """The model with traced numbers of classes, so that other numbers compile nothing."""
        return counted(model)

    def floats_per_lane(self, model: GroupedProgram) -> int:
        """A few dozen scalars."""
        return 64

    def __call__(self, model: LayerPeeled, key: Array | None = None) -> Solution:
        """Solves one model; use vmap or :func:`nc_jax.solve_batch` for many.

        Args:
            model: a :class:`LayerPeeled` with two groups and :class:`CrossEntropy`.
            key: unused; the method has no randomness.

        Raises:
            ValueError: another model, another number of groups, or another loss.
        """
        require_accepted(self, model)
        sizes = model.sizes
        dtype = sizes.group_sizes.dtype
        tolerance = default_tolerance(self.tolerance, dtype)
        first, second = (jnp.asarray(count, dtype) for count in sizes.counts)
        log_ratio = jnp.log(sizes.group_sizes[0]) - jnp.log(sizes.group_sizes[1])
        swap = log_ratio < 0
        major = jnp.where(swap, second, first)
        minor = jnp.where(swap, first, second)
        setting = _Setting(major, minor, first + second, model.nuclear_radius, jnp.abs(log_ratio))

        steps = _steps(sizes.counts) if self.steps is None else self.steps
        x = _solve(setting, steps)
        gone = _vanished(setting)
        alone = setting.radius / jnp.maximum(major - 1, 1)
        zero = jnp.zeros_like(alone)
        x = _Numbers(*(jnp.where(gone, a, b) for a, b in zip((alone, *[zero] * 4), x, strict=True)))
        certificate = _certificate(x, setting)

        point = _group_logits(x, major, minor, swap)
        # Below this distance rounding decides the sign of δ.
        blur = 1e3 * jnp.finfo(dtype).eps * (1 + model.budget)
        sure = ~((minor > 1) & (x.delta > 0) & (x.delta < blur))
        taken = jnp.asarray(steps + _second_steps(steps))
        return label(model, point, certificate, tolerance, taken, sure)


def _group_logits(x: _Numbers, major: Array, minor: Array, swap: Array) -> GroupLogits:
    """Group numbers in the order of the model's groups."""
    root = jnp.sqrt(major * minor)
    # Rows of M annihilate (√K_A, √K_B): the logits of every row sum to zero.
    a_row = (-minor * x.b, root * x.b)
    b_row = (root * x.c, -major * x.c)
    entries = (a_row[0], a_row[1], b_row[0], b_row[1])
    straight = [jnp.where(swap, v, u) for u, v in zip(entries, entries[::-1], strict=True)]
    between = jnp.stack(straight).reshape(2, 2)
    within = jnp.stack([jnp.where(swap, x.delta, x.alpha), jnp.where(swap, x.alpha, x.delta)])
    return GroupLogits(within, between)
