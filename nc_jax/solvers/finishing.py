"""From the end point of a solver to a solution: exact zeros, certificate, status."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.immutable import with_fields
from nc_jax.solvers.certificates import Certificate, certify, certify_with, within_slopes
from nc_jax.solvers.duals import merged_bound
from nc_jax.solvers.implicit import differentiable
from nc_jax.solvers.singular import singular_triples, singular_values
from nc_jax.solvers.solution import Solution, label
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    block_sizes,
    data_loss,
    value_and_gradient,
)


def finish(
    given: GroupedProgram,
    point: GroupLogits,
    tolerance: Array,
    iterations: Array,
    bound: Array | None = None,
) -> Solution:
    """Cleans, certifies and labels the end point of an iterative solver.

    The result is differentiable in the model's numbers, for any solver.

    Group numbers whose exact value must be zero are set to zero, as the dual
    indicates: with strict complementarity a singular value is zero if and only if
    that of the gradient is below the multiplier.

    Args:
        given: the model, with its derivatives.
        point: the end point of the solver.
        tolerance: duality gap up to which a lane has converged.
        iterations: number of steps taken.
        bound: a lower bound on the optimum that the solver proved.
    """
    model, point = jax.lax.stop_gradient((given, point))
    if model.loss.shift_invariant:
        point = _centred(model, point)
    plain, before, cleaned, after, resolved = _cleaned(model, point, tolerance)
    gaps = _with_bound(before, bound).gap, _with_bound(after, bound).gap
    keep = gaps[1] <= jnp.maximum(gaps[0], tolerance)
    best, known = jax.tree.map(
        lambda a, b: jnp.where(keep, a, b), (cleaned, after), (plain, before)
    )
    best = differentiable(given, best)
    certificate = _with_bound(_certificate_of(given, best, known), bound)
    solution = label(given, best, certificate, tolerance, iterations, resolved & keep)
    if not model.sizes.merged:
        return solution
    # The status describes the solve of the merged program; the gap holds for the original one.
    known = merged_bound(model, jax.lax.stop_gradient(best), certificate.nuclear_norm)
    gap = jnp.maximum(certificate.objective - known, 0)
    return with_fields(solution, gap=jnp.where(model.valid, gap, jnp.nan))


@jax.custom_jvp
def _certificate_of(model: GroupedProgram, point: GroupLogits, known: Certificate) -> Certificate:
    """A certificate that is already known, with its derivatives."""
    del model, point
    return known


@_certificate_of.defjvp
def _certificate_of_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    _, change = jax.jvp(certify, primals[:2], tangents[:2])
    return primals[2], change


def _with_bound(certificate: Certificate, bound: Array | None) -> Certificate:
    """The smaller of the point's own gap and its distance from a known lower bound."""
    if bound is None:
        return certificate
    gap = jnp.maximum(certificate.objective - bound, 0)
    return certificate._replace(gap=jnp.minimum(certificate.gap, gap))


class _Spectrum(NamedTuple):
    """A point with the singular values of its means, which are expensive to recompute."""

    within: Array
    left: Array
    singular: Array
    right: Array
    bias: Array | None

    def point(self) -> GroupLogits:
        """The group numbers themselves."""
        between = jnp.matmul(self.left * self.singular, self.right, precision="highest")
        return GroupLogits(self.within, between, self.bias)

    def norm(self, counts: np.ndarray) -> Array:
        """‖X‖_*."""
        multiplicity, _ = block_sizes(counts, self.within.dtype)
        return jnp.sum(multiplicity * jnp.abs(self.within)) + jnp.sum(self.singular)

    def scaled(self, factor: Array) -> "_Spectrum":
        """All singular values multiplied by a number."""
        return self._replace(within=self.within * factor, singular=self.singular * factor)


def _cleaned(
    model: GroupedProgram, point: GroupLogits, tolerance: Array
) -> tuple[GroupLogits, Certificate, GroupLogits, Certificate, Array]:
    """The point scaled to its budget, without and with exact zeros, both certified."""
    counts = model.sizes.counts

    def certified(spectrum: _Spectrum, _: None) -> tuple[_Spectrum, Any]:
        own = _onto_budget(model, spectrum)
        point = own.point()
        found = value_and_gradient(model, point)
        steepest = jnp.max(singular_values(found[1].between))
        certificate = certify_with(model, point, found, steepest, own.norm(counts))
        zeroed, resolved = _complementary_zeros(model, own, found[1], steepest, tolerance)
        return zeroed, (point, certificate, resolved)

    left, singular, right = singular_triples(point.between)
    start = _Spectrum(point.within, left, singular, right, point.bias)
    # A loop, because the same operations twice would take twice as long to compile. The zeros of
    # the second point are not used.
    _, both = jax.lax.scan(certified, start, None, length=2)
    plain, before, resolved = jax.tree.map(lambda leaf: leaf[0], both)
    cleaned, after, _ = jax.tree.map(lambda leaf: leaf[1], both)
    return plain, before, cleaned, after, resolved


def _centred(model: GroupedProgram, point: GroupLogits) -> GroupLogits:
    """Logits centred in each row: the same loss with a norm that is not larger.

    If the budget is not used up, as under label smoothing, nothing else determines the mean.
    """
    _, root = block_sizes(model.sizes.counts, point.between.dtype)
    means = jnp.sum(point.between * root, axis=-1, keepdims=True) / model.num_classes
    return point._replace(between=point.between - means * root)


def _onto_budget(model: GroupedProgram, spectrum: _Spectrum) -> _Spectrum:
    """Scales a point into the nuclear ball, or onto its sphere if that is better."""
    norm = spectrum.norm(model.sizes.counts)
    factor = model.nuclear_radius / jnp.where(norm > 0, norm, 1)
    scaled = spectrum.scaled(factor)

    def objective(candidate: _Spectrum, norm: Array) -> Array:
        return data_loss(model, candidate.point()) + model.penalty * norm

    better = objective(scaled, model.nuclear_radius) <= objective(spectrum, norm)
    take = (factor < 1) | ((norm > 0) & better)
    return jax.tree.map(lambda a, b: jnp.where(take, a, b), scaled, spectrum)


def _complementary_zeros(
    model: GroupedProgram,
    spectrum: _Spectrum,
    gradient: GroupLogits,
    steepest: Array,
    tolerance: Array,
) -> tuple[_Spectrum, Array]:
    """Sets singular values below their dual slack to zero; also whether all cases were clear.

    A loss whose own minimum lies inside the nuclear ball has no multiplier:
    the budget is not active and forces no value to zero.
    """
    counts = model.sizes.counts
    pulled = jnp.matmul(gradient.between, spectrum.right.T, precision="highest")
    dual = jnp.abs(jnp.sum(spectrum.left * pulled, 0))
    slopes = within_slopes(counts, gradient)
    multiplier = jnp.maximum(jnp.maximum(jnp.max(slopes), steepest), model.penalty)
    idle = multiplier * model.nuclear_radius <= tolerance
    positive = jnp.where(multiplier > 0, multiplier, 1)
    several = jnp.asarray(counts > 1)

    norm = spectrum.norm(counts)
    # A penalty can force the whole norm to zero; then logits of order one set the scale.
    floor = jnp.where(model.penalty > 0, model.num_classes / jnp.min(model.row_scale), 0)
    unit = jnp.where(norm > 0, jnp.maximum(norm, floor), 1) / model.num_classes
    slack = jnp.where(idle, 0, 1 - slopes / positive)
    size = jnp.abs(spectrum.within) / unit
    zero = several & (size < slack)
    doubtful = several & (jnp.maximum(size, slack) < 1e-5)
    within = jnp.where(zero | ~several, 0, spectrum.within)
    loose = ~idle & (spectrum.singular / unit < 1 - dual / positive)
    singular = jnp.where(loose, 0, spectrum.singular)
    return spectrum._replace(within=within, singular=singular), ~jnp.any(doubtful)
