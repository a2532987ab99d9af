"""Lower bounds on the optimum of a factored program, computed from one of its points.

If the program is convex in the logits, the class means of the point are a
point of the convex form, whose duality gap bounds the optimum (averaging the
samples of a class does not increase a convex cost). If features must be nonnegative, the
dual norm is max ‖Gᵀa‖ over a ≥ 0, ‖a‖ = 1. It is at most the square root of the largest
eigenvalue of G Gᵀ with its negative off-diagonal entries set to zero; this is exact for an
orthogonal frame, and if classes share a direction that no other class would join. (With fewer
dimensions than the convex form needs, the optimum can only be larger.) The
supervised contrastive loss is convex in the inner products X of the features, X ⪰ 0
with tr(D X) bounded or penalised. For balanced softmax-based losses Theorem 4 of Fang
et al. 2021 gives the value. In all other cases there is no bound: minus infinity.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.checks import offers
from nc_jax.geometry import ClassSizes, gram
from nc_jax.losses import PowerSoftmax, acts_on
from nc_jax.solvers.certificates import certify_with
from nc_jax.solvers.singular import symmetric_eigenvalues
from nc_jax.surrogates.constraints import EnergyBalls, WeightDecay
from nc_jax.surrogates.grouped import GroupedProgram, GroupLogits, value_and_gradient
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.layers import FactoredProgram, TopLayers, copies_of, labels_of
from nc_jax.theory.balanced import balanced_optimum, softmax_condition


def lower_bound(model: FactoredProgram, layers: TopLayers) -> Array:
    """A lower bound on the objective over all feasible points of a single model."""
    if model.sizes.merged:
        # These bounds hold for the merged classes, not for the original ones.
        return jnp.asarray(-jnp.inf, layers.features.dtype)
    if acts_on(model.loss) == "features":
        return _similarity_bound(model, layers)
    if acts_on(model.loss) == "targets":
        return _target_bound(model, layers)
    singles = ClassSizes(model.sizes.class_sizes, tuple(range(model.sizes.num_classes)))
    convex = convex_form(model, singles)
    if convex is not None:
        return _convex_bound(convex, model.samples, layers)
    if isinstance(model, LayerPeeled) and isinstance(model.loss, PowerSoftmax):
        sizes = model.sizes.group_sizes
        balanced = jnp.max(sizes) <= jnp.min(sizes) * (1 + 4 * jnp.finfo(sizes.dtype).eps)
        known = balanced & softmax_condition(model.num_classes, model.budget)
        known = known & (model.feature_power is None)
        value = balanced_optimum(model.num_classes, model.budget, model.loss).objective
        return jnp.where(known, value, -jnp.inf)
    return jnp.asarray(-jnp.inf, layers.features.dtype)


def convex_form(model: FactoredProgram, sizes: ClassSizes) -> Any:
    """The model as a convex program over groups of classes; None if it has no such form."""
    form = getattr(model, "convex_form", None)
    return form(sizes) if form is not None and model.loss.convex else None


def _class_means(samples: tuple[int, ...], features: Array) -> Array:
    labels = labels_of(samples)
    share = np.zeros((len(samples), len(labels)))
    share[labels, np.arange(len(labels))] = 1 / np.asarray(samples)[labels]
    return jnp.matmul(jnp.asarray(share, features.dtype), features, precision="highest")


def _convex_bound(model: GroupedProgram, samples: tuple[int, ...], layers: TopLayers) -> Array:
    dtype = layers.features.dtype
    means = _class_means(samples, layers.features)
    logits = jnp.matmul(means, layers.weights[0].T, precision="highest")
    bias = layers.biases[0] if layers.biases else None
    point = GroupLogits(jnp.zeros(len(samples), dtype), logits / model.row_scale[:, None], bias)
    found = value_and_gradient(model, point)
    scaled = means / model.row_scale[:, None]
    norm, steepest = _norms(model, scaled, layers.weights[0], point.between, found[1].between)
    certificate = certify_with(model, point, found, steepest, norm)
    return certificate.objective - certificate.gap


def _norms(
    model: GroupedProgram, means: Array, weights: Array, product: Array, slope: Array
) -> tuple[Array, Array]:
    """The norm of X = A Bᵀ (or a bound on it), and the dual norm of the slope."""
    if getattr(model, "nonnegative", False):
        norm = jnp.sum(jnp.linalg.norm(means, axis=0) * jnp.linalg.norm(weights, axis=0))
        # Negative entries cannot increase a product with nonnegative vectors.
        return norm, jnp.sqrt(jnp.max(symmetric_eigenvalues(_without_negatives(gram(slope)))))
    norm = jnp.sum(jnp.sqrt(_squared_singular_values(product)))
    return norm, jnp.sqrt(jnp.max(_squared_singular_values(slope)))


def _target_bound(model: Any, layers: TopLayers) -> Array:
    """The convex bound for J×K logits, in which no classes are equal."""
    power = getattr(model.constraint, "feature_power", None)
    if not offers(model, "row_scale") or power is not None:
        return jnp.asarray(-jnp.inf, layers.features.dtype)
    scale = model.row_scale[..., np.asarray(model.sizes.membership)]
    means = _class_means(model.samples, layers.features) / scale[:, None]
    product = jnp.matmul(means, layers.weights[0].T, precision="highest")
    bias = layers.biases[0] if layers.biases else jnp.zeros(model.num_outputs, product.dtype)

    def mean(x: Array, b: Array) -> Array:
        losses = model.loss(scale[:, None] * x + b, jnp.arange(model.num_classes))
        return jnp.sum(model.sizes.class_weights * losses)

    value, (slope, in_bias) = jax.value_and_grad(mean, argnums=(0, 1))(product, bias)
    norm, steepest = _norms(model, means, layers.weights[0], product, slope)
    zero = jnp.zeros((), product.dtype)
    decay = zero if model.bias_penalty is None else model.bias_penalty
    objective = value + model.penalty * norm + 0.5 * decay * jnp.sum(bias**2)
    priced = objective / jnp.where(model.penalty > 0, model.penalty, 1)
    priced = jnp.where(model.penalty > 0, priced, jnp.inf)
    radius = jnp.minimum(priced, model.nuclear_radius)
    gap = jnp.sum(slope * product) + model.penalty * norm
    gap = gap + radius * jnp.maximum(steepest - model.penalty, 0)
    if model.bias_penalty is not None:
        # An optimal bias without decay has no bound.
        gain = jnp.sum((decay * bias + in_bias) ** 2) / (2 * jnp.where(decay > 0, decay, 1))
        gap = gap + jnp.where(decay > 0, gain, jnp.inf)
    return objective - gap


def _without_negatives(square: Array) -> Array:
    """The matrix with its negative off-diagonal entries set to zero."""
    return jnp.where(jnp.eye(len(square), dtype=bool), square, jnp.maximum(square, 0))


def _squared_singular_values(matrix: Array) -> Array:
    """From a symmetric eigenvalue problem, which costs half as much as singular values."""
    return jnp.maximum(symmetric_eigenvalues(gram(matrix)), 0)


def _similarity_bound(model: Any, layers: TopLayers) -> Array:
    """Minimum of f(X) + ⟨∇f, X' − X⟩ over the feasible X' (with the penalty of X')."""
    labels = labels_of(model.samples)
    copies = copies_of(model.sizes, model.samples)
    dtype = layers.features.dtype
    counts = jnp.asarray(np.asarray(model.samples)[labels], dtype)
    share = model.sizes.class_weights[labels] / counts
    similarity = gram(layers.features)

    def mean(x: Array) -> Array:
        return jnp.sum(share * model.loss.of_similarity(x, labels, copies))

    value, slope = jax.value_and_grad(mean)(similarity)
    slope = 0.5 * (slope + slope.T)
    inner = jnp.sum(slope * similarity)
    match model.constraint:
        case EnergyBalls(feature_radius=radius, feature_power=None):
            # tr(D X) ≤ r² with D = 1/s_k.
            least = _least_eigenvalue(slope, 1 / counts)
            return value - inner + radius**2 * jnp.minimum(least, 0)
        case WeightDecay(features=decay, nonnegative=False):
            # Penalty (λ_H/2) tr(N X), N = n_k/s_k: at the optimum it is at most f(0) minus the
            # smallest value of f, because the loss of a sample of class k is at least log n_k.
            least = _least_eigenvalue(slope, copies) + 0.5 * decay
            floor = jnp.sum(model.sizes.class_weights * jnp.log(model.sizes.class_sizes))
            bound = 2 * (mean(jnp.zeros_like(similarity)) - floor) / decay
            return value - inner + bound * jnp.minimum(least, 0)
    return jnp.asarray(-jnp.inf, value.dtype)


def _least_eigenvalue(slope: Array, weight: Array) -> Array:
    """λ_min of D^{−½} G D^{−½}."""
    root = 1 / jnp.sqrt(weight)
    return jnp.min(symmetric_eigenvalues(root[:, None] * slope * root))
