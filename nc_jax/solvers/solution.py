"""The result of a solver: a certified point, from which the geometry is derived."""

import enum
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import cosines, zero_sum_basis
from nc_jax.immutable import derived, immutable, with_fields
from nc_jax.solvers.certificates import Certificate
from nc_jax.surrogates.counted import counted
from nc_jax.surrogates.grouped import (
    GroupedProgram,
    GroupLogits,
    block_sizes,
    expand,
)


class Status(enum.IntEnum):
    """How a solve ended; one value for each lane of a batch."""

    CONVERGED = 0
    """The duality gap is within the solver's tolerance."""
    NOT_CONVERGED = 1
    """The step limit was reached; gap and residual bound the remaining error."""
    STATIONARY = 3
    """The residual is within tolerance, but there is no certificate of global optimality."""
    INVALID = 2
    """A parameter of the lane is NaN, infinite or not positive; all its numbers are NaN."""


def _of_groups(function: Callable[["Solution"], Array]) -> Any:
    """A property that needs no list of classes: one program for all numbers of classes."""
    compiled = jax.jit(function)

    @wraps(function)
    def read(solution: "Solution") -> Array:
        return compiled(solution.by_groups())

    return property(read)


@immutable()
class Solution:
    """A solved convex program: group numbers, certificate, derived geometry.

    Only a few numbers are stored for each group, so that a million lanes fit into
    memory; matrices are computed on demand, with the batch axes leading.

    Attributes:
        model: the model that was solved.
        within: α [..., G] of X (Z itself in a Layer-Peeled Model, D^½ Z for
            unconstrained features), see :mod:`nc_jax.surrogates.grouped`.
        between: M [..., G, G].
        group_bias: b [..., G] of a class of each group; None for a model without bias.
        objective: [...] the objective at the solution, including penalties.
        gap: [...] duality gap, an upper bound on objective − optimum.
        multiplier: [...] dual variable μ of the nuclear norm.
        status: [...] integers, see :class:`Status`.
        iterations: [...] integers, number of steps taken.
        resolved: [...] booleans: whether the certificate determines which
            within-group numbers are exactly zero.
    """

    model: GroupedProgram
    within: Array
    between: Array
    group_bias: Array | None
    objective: Array
    gap: Array
    multiplier: Array
    status: Array
    iterations: Array
    resolved: Array

    @derived
    def logits(self) -> Array:
        """Z = H Wᵀ + b [..., K, K]; row k are the logits of class k."""
        sizes = self.model.sizes
        point = GroupLogits(self.within, self.between)
        logits = self._row_scale * expand(sizes.counts, sizes.membership, point)
        return logits if self.bias is None else logits + self.bias[..., None, :]

    @property
    def bias(self) -> Array | None:
        """The bias b [..., K]; None for a model without bias."""
        if self.group_bias is None:
            return None
        return self.group_bias[..., np.asarray(self.model.sizes.membership)]

    @derived
    def classifiers(self) -> Array:
        """W [..., K, p]; unique up to a rotation of feature space."""
        return self._factors()[0]

    @derived
    def features(self) -> Array:
        """Class means H [..., K, p]; all features of a class are equal."""
        return self._factors()[1]

    @property
    def sample_features(self) -> Array:
        """One feature for each class [..., K, p]; all features of a class are equal."""
        return self.features

    @property
    def labels(self) -> np.ndarray:
        """The class [K] of each of ``sample_features``."""
        return np.arange(self.model.sizes.num_classes)

    @derived
    def classifier_gram(self) -> Array:
        """W Wᵀ [..., K, K], a multiple of (XᵀX)^½."""
        sizes = self.model.sizes
        shape = GroupLogits(jnp.abs(self.within), _absolute_value(self.between))
        scale = self.model.classifier_scale[..., None, None]
        return scale * expand(sizes.counts, sizes.membership, shape)

    @_of_groups
    def classifier_norms(self) -> Array:
        """‖w‖ of a classifier of each group, [..., G]; exactly zero if it vanishes."""
        return jnp.sqrt(self.group_gram()[0])

    @_of_groups
    def within_cosines(self) -> Array:
        """Cosine of two classifiers of the same group [..., G].

        NaN for a group of one class and for classifiers that vanish.
        """
        squares, products, _ = self.group_gram()
        single = jnp.asarray(self.model.sizes.counts < 2)
        undefined = single | (squares <= 0)
        return jnp.where(undefined, jnp.nan, products / jnp.where(undefined, 1, squares))

    @_of_groups
    def between_cosines(self) -> Array:
        """Cosine of classifiers of two different groups [..., G, G]; NaN if undefined.

        The diagonal repeats ``within_cosines``.
        """
        squares, products, across = self.group_gram()
        eye = jnp.eye(squares.shape[-1], dtype=bool)
        gram = jnp.where(eye, squares[..., None], across)
        single = jnp.asarray(self.model.sizes.counts < 2)
        own = jnp.where(single, jnp.nan, products / jnp.where(squares > 0, squares, jnp.nan))
        return jnp.where(eye, own[..., None], cosines(gram))

    def by_groups(self) -> "Solution":
        """The same solution with traced numbers of classes, without a list of them."""
        return with_fields(self, model=counted(self.model))

    @property
    def _row_scale(self) -> Array:
        """[..., K, 1] the factor from rows of X to rows of Z."""
        return self.model.row_scale[..., np.asarray(self.model.sizes.membership), None]

    def group_gram(self) -> tuple[Array, Array, Array]:
        """The distinct numbers of W Wᵀ, without forming it.

        Returns:
            Squared norms [..., G], inner products of two classes of a group [..., G], and
            those of classes of two groups [..., G, G], whose diagonal has no meaning.
        """
        counts = self.model.sizes.counts
        multiplicity, root = block_sizes(counts, self.within.dtype)
        absolute = _absolute_value(self.between)
        diagonal = jnp.diagonal(absolute, axis1=-2, axis2=-1)
        alpha = jnp.where(multiplicity > 0, jnp.abs(self.within), 0)
        scale = self.model.classifier_scale[..., None]
        squares = scale * (multiplicity * alpha + diagonal) / root**2
        # For coinciding classes the two must be equal to the last digit.
        products = jnp.where(alpha > 0, scale * (diagonal - alpha) / root**2, squares)
        roots = root[..., :, None] * root[..., None, :]
        return squares, products, scale[..., None] * absolute / roots

    def group_factors(self) -> "GroupFactors":
        """W and H by groups, in O(G²) memory, for numbers of classes where K×K is too much."""
        weights, means = self._group_numbers()
        root = jnp.asarray(np.sqrt(self.model.sizes.counts), self.within.dtype)[:, None]
        row_scale = self.model.row_scale
        quarter = jnp.sqrt(self.model.classifier_scale)[..., None]
        return GroupFactors(
            quarter[..., None] * weights.between / root,
            quarter * weights.within,
            (row_scale / quarter)[..., None] * means.between / root,
            row_scale / quarter * means.within,
        )

    def _group_numbers(self) -> tuple[GroupLogits, GroupLogits]:
        """Group numbers of V Σ^½ Vᵀ and of U Σ^½ Vᵀ, for X = UΣVᵀ."""
        left, singular, right = jnp.linalg.svd(self.between)
        root = jnp.sqrt(singular)[..., None, :]
        transposed = jnp.swapaxes(right, -1, -2)
        alpha = jnp.sqrt(jnp.abs(self.within))
        weights = GroupLogits(alpha, jnp.matmul(transposed * root, right, precision="highest"))
        means = GroupLogits(
            jnp.sign(self.within) * alpha, jnp.matmul(left * root, right, precision="highest")
        )
        return weights, means

    def _factors(self) -> tuple[Array, Array]:
        """W and H, scaled and truncated to p dimensions."""
        sizes, dimension = self.model.sizes, self.model.dimension
        weights, means = self._group_numbers()
        quarter = jnp.sqrt(self.model.classifier_scale)[..., None, None]
        matrices = []
        for point, scale in ((weights, quarter), (means, self._row_scale / quarter)):
            matrix = scale * expand(sizes.counts, sizes.membership, point)
            if dimension < sizes.num_classes:
                basis = zero_sum_basis(sizes.num_classes, matrix.dtype)
                matrix = jnp.matmul(matrix, basis, precision="highest")
            padding = [(0, 0)] * (matrix.ndim - 1) + [(0, dimension - matrix.shape[-1])]
            matrices.append(jnp.pad(matrix, padding))
        return matrices[0], matrices[1]


class GroupFactors(NamedTuple):
    """Classifiers and class means in a basis of feature space that is adapted to the groups.

    The classifier of class k of group g is row g of ``classifier_means``, in the G
    directions that all groups share, plus ``classifier_parts[g]`` times e_k − 1/K_g Σ_j e_j over
    the classes j of its group, in K further directions, one for each class.

    Attributes:
        classifier_means: [..., G, G] mean classifier of each group.
        classifier_parts: [..., G]; zero where a group has collapsed.
        feature_means: [..., G, G] mean of the class means of each group.
        feature_parts: [..., G].
    """

    classifier_means: Array
    classifier_parts: Array
    feature_means: Array
    feature_parts: Array


@jax.custom_jvp
def _absolute_value(matrix: Array) -> Array:
    """(MᵀM)^½ of [..., G, G]; closed forms for G ≤ 2, else from the SVD."""
    if matrix.shape[-1] == 1:
        return jnp.abs(matrix)
    if matrix.shape[-1] > 2:
        _, singular, right = jnp.linalg.svd(matrix)
        scaled = jnp.swapaxes(right, -1, -2) * singular[..., None, :]
        return jnp.matmul(scaled, right, precision="highest")
    # √A = (A + √det A · I) / √(tr A + 2 √det A) for a 2×2 matrix A = MᵀM.
    a, b, c, d = (matrix[..., i, j] for i in (0, 1) for j in (0, 1))
    determinant = jnp.abs(a * d - b * c)
    trace = jnp.sqrt(a**2 + b**2 + c**2 + d**2 + 2 * determinant)
    safe = jnp.where(trace > 0, trace, 1)
    top, cross, bottom = a**2 + c**2 + determinant, a * b + c * d, b**2 + d**2 + determinant
    rows = [jnp.stack([top, cross], axis=-1), jnp.stack([cross, bottom], axis=-1)]
    return jnp.stack(rows, axis=-2) / safe[..., None, None]


@_absolute_value.defjvp
def _absolute_value_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """From P² = MᵀM, P dP + dP P = Mᵀ dM + dMᵀ M: no division by differences of singular values."""
    (matrix,), (change,) = primals, tangents
    _, singular, right = jnp.linalg.svd(matrix)
    basis = jnp.swapaxes(right, -1, -2)
    # Of dMᵀM + MᵀdM in the singular basis, s_i (UᵀdMV)_ij + (UᵀdMV)_ji s_j.
    square = jnp.matmul(jnp.swapaxes(matrix, -1, -2), change, precision="highest")
    square = jnp.matmul(jnp.matmul(right, square, precision="highest"), basis, precision="highest")
    square = square + jnp.swapaxes(square, -1, -2)
    total = singular[..., :, None] + singular[..., None, :]
    floor = jnp.finfo(matrix.dtype).eps * jnp.max(singular, axis=-1)[..., None, None]
    known = total > 8 * floor
    inner = jnp.where(known, square / jnp.where(known, total, 1), 0)
    rotated = jnp.matmul(jnp.matmul(basis, inner, precision="highest"), right, precision="highest")
    return _absolute_value(matrix), rotated


def label(
    model: GroupedProgram,
    point: GroupLogits,
    certificate: Certificate,
    tolerance: Array,
    iterations: Array,
    resolved: Array,
) -> Solution:
    """A :class:`Solution` with its status; all numbers are NaN if the input is bad."""
    valid = model.valid
    status = jnp.where(certificate.gap <= tolerance, Status.CONVERGED, Status.NOT_CONVERGED)
    status = jnp.where(valid, status, Status.INVALID).astype(jnp.int32)

    def mask(x: Array) -> Array:
        return jnp.where(valid, x, jnp.nan)

    return Solution(
        model=model,
        within=mask(point.within),
        between=mask(point.between),
        group_bias=None if point.bias is None else mask(point.bias),
        objective=mask(certificate.objective),
        gap=mask(certificate.gap),
        multiplier=mask(certificate.multiplier),
        status=status,
        iterations=jnp.asarray(iterations, jnp.int32),
        resolved=resolved & valid,
    )


def certified(solution: Any) -> Solution:
    """The solution itself; TypeError unless it is a :class:`Solution` over group numbers."""
    if not isinstance(solution, Solution):
        raise TypeError(
            f"solution must be a certified Solution, got {type(solution).__name__}: is the model "
            "convex in the logits, with dimension ≥ full_dimension?"
        )
    return solution


def require_one(solution: Any) -> None:
    """Raises TypeError unless it is a :class:`Solution`, and ValueError if it is a batch."""
    solution = certified(solution)
    if solution.objective.ndim:
        shape = solution.objective.shape
        raise ValueError(f"solution must be of a single model, got a batch {shape}; use vmap")


def default_tolerance(tolerance: Any, dtype: Any) -> Array:
    """The given tolerance, or the smallest one that the dtype can reach."""
    if tolerance is None:
        tolerance = 1e-9 if dtype == jnp.float64 else 1e-5
    return jnp.asarray(tolerance, dtype)
