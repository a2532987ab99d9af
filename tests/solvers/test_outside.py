"""Surrogates, losses and solvers that the package does not know, by what they declare."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.batches import batch_shape
from nc_jax.immutable import immutable, set_fields
from nc_jax.losses.base import own_and_others
from nc_jax.solvers import choose_solver
from nc_jax.solvers.acceptance import Solver, Surrogate
from nc_jax.solvers.parametrisations import parametrised
from nc_jax.surrogates.constraints import EnergyBalls
from nc_jax.surrogates.layers import LayerShapes, mean_loss


@immutable()
class Hinge:
    """½ Σ_j≠k max(0, 1 + z_j − z_k)², convex and shift-invariant, without a closed form here."""

    convex = True
    shift_invariant = True

    def __call__(self, logits, label, multiplicity=None):
        own, _, others = own_and_others(logits, label, multiplicity)
        return 0.5 * jnp.sum(others * jnp.maximum(0, 1 + logits - own) ** 2, axis=-1)


@immutable()
class Peeled:
    """The Layer-Peeled Model as somebody else would write it: in both forms."""

    sizes: nc.ClassSizes
    energies: jax.Array
    loss: nc.Loss

    activation = "identity"
    row_power = 0.0
    bias_penalty = None

    def __init__(self, sizes, energies, loss):
        set_fields(self, sizes=sizes, energies=jnp.asarray(energies), loss=loss)

    num_classes = property(lambda self: self.sizes.num_classes)
    dimension = property(lambda self: self.num_classes)
    full_dimension = property(lambda self: self.num_classes)
    samples = property(lambda self: (1,) * self.num_classes)
    batch_shape = property(batch_shape)
    valid = property(lambda self: jnp.isfinite(self.energies) & (self.energies > 0))
    row_scale = property(lambda self: jnp.ones_like(self.sizes.group_sizes))
    penalty = property(lambda self: jnp.zeros_like(self.energies))
    nuclear_radius = property(lambda self: self.num_classes * self.energies)
    classifier_scale = property(lambda self: jnp.ones_like(self.energies))

    @property
    def shapes(self):
        shape = (self.num_classes, self.dimension)
        return LayerShapes(shape, (shape,))

    @property
    def constraint(self):
        radius = jnp.sqrt(self.num_classes * self.energies)
        return EnergyBalls(radius, radius[None], True, self.energies)

    def cost(self, layers):
        return mean_loss(self, layers)


class LayersOnly(Peeled):
    """The same without the convex form."""

    row_scale = property()


LayersOnly = immutable()(LayersOnly)


@pytest.mark.parametrize("loss", [nc.CrossEntropy(), nc.MeanSquaredError(), Hinge()])
def test_a_surrogate_from_outside_is_solved_with_a_certificate(loss):
    ratios, energies = np.array([1.0, 7.0, 300.0]), np.array([[0.3], [2.0]])
    sizes = nc.two_groups(2, 3, ratios)
    ours = nc.solve(Peeled(sizes, energies, loss))
    known = nc.solve(nc.LayerPeeled(sizes, energies, energies, loss))
    assert ours.objective.shape == (2, 3)
    assert np.all(ours.status == nc.Status.CONVERGED) and np.max(ours.gap) <= 1e-9
    np.testing.assert_allclose(ours.objective, known.objective, atol=2e-9)
    np.testing.assert_array_equal(nc.phase(ours), nc.phase(known))


def test_a_bad_lane_of_a_surrogate_from_outside_has_its_status():
    sizes = nc.two_groups(2, 3, np.array([2.0, 3.0]))
    solved = nc.solve(Peeled(sizes, np.array([1.0, -1.0]), nc.CrossEntropy()))
    assert list(solved.status) == [nc.Status.CONVERGED, nc.Status.INVALID]


def test_a_surrogate_without_a_convex_form_is_solved_over_its_layers():
    sizes = nc.two_groups(2, 2, 5.0)
    model = LayersOnly(sizes, 1.5, nc.CrossEntropy())
    assert isinstance(choose_solver(model), nc.FactoredMultiStart)
    found = nc.solve(model)
    known = nc.solve(nc.LayerPeeled(sizes, 1.5, 1.5))
    assert found.status == nc.Status.STATIONARY and np.isinf(found.gap)
    np.testing.assert_allclose(found.objective, known.objective, rtol=1e-9)


@immutable(static=("steps",))
class Descent:
    """Gradient descent with only the two members that a solver must have."""

    steps: int = 4000

    def floats_per_lane(self, model):
        return 100

    def __call__(self, model, key=None):
        maps = parametrised(model)

        def step(_, parameters):
            slope = jax.grad(lambda own: model.cost(maps.layers(own)))(parameters)
            return jax.tree.map(lambda x, g: x - 2.0 * g, parameters, slope)

        start = maps.start(jax.random.key(1))
        layers = maps.layers(jax.lax.fori_loop(0, self.steps, step, start))
        return {"cost": model.cost(layers), "classifiers": layers.weights[0]}


@pytest.mark.parametrize("kind", [Peeled, nc.LayerPeeled])
def test_a_solver_from_outside_needs_only_a_call_and_a_size(kind):
    assert isinstance(Descent(), Solver) and isinstance(nc.TwoGroupRoot(), Solver)
    sizes, energies = nc.two_groups(2, 2, np.array([1.0, 4.0])), np.ones(2)
    arguments = (energies,) if kind is Peeled else (energies, energies)
    model = kind(sizes, *arguments, loss=nc.CrossEntropy())
    assert isinstance(model, Surrogate)
    found = nc.solve(model, Descent())
    assert found["classifiers"].shape == (2, 4, 4)
    np.testing.assert_allclose(found["cost"], nc.solve(model).objective, atol=1e-6)


@immutable()
class Together:
    """A solver that takes a whole batch and returns something of its own."""

    takes_batches = True

    def floats_per_lane(self, model):
        return 1

    def __call__(self, model, key=None):
        return {"energies": 2 * model.energies}


@immutable(static=("batch_shape", "valid"))
class Stored:
    """A model whose members are fields."""

    loss: nc.Loss
    energies: jax.Array
    batch_shape: tuple
    valid: bool


def test_a_solver_may_take_the_whole_batch_and_a_model_may_store_its_members():
    model = Stored(nc.CrossEntropy(), jnp.arange(3.0), (3,), True)
    np.testing.assert_array_equal(nc.solve(model, Together())["energies"], [0, 2, 4])


@immutable()
class Bare:
    """A model in neither form."""

    loss: nc.Loss

    batch_shape = ()
    valid = True


def test_errors_say_what_is_missing():
    bare = Bare(nc.CrossEntropy())
    with pytest.raises(TypeError, match="GroupedProgram or FactoredProgram"):
        nc.solve(bare)
    with pytest.raises(TypeError, match="FactoredMultiStart needs a model over its layers"):
        nc.solve(bare, nc.FactoredMultiStart())
    with pytest.raises(ValueError, match="convex in the logits"):
        nc.solve(bare, nc.ReducedInteriorPoint())
    with pytest.raises(TypeError, match="MultilayerUnconstrainedFeatures"):
        nc.solve(nc.LayerPeeled([1.0, 2.0]), nc.EliminatedMultiStart())
    for wrong in (nc.TwoGroupRoot, len, "fast", 3):
        with pytest.raises(TypeError, match="solver must be"):
            nc.solve(nc.LayerPeeled([1.0, 2.0]), wrong)
    for wrong in (nc.LayerPeeled, {"loss": 1}, None):
        with pytest.raises(TypeError, match="model must be"):
            nc.solve(wrong)
    unknown = immutable()(type("Unknown", (LayersOnly,), {"constraint": (1.0, 2.0)}))
    with pytest.raises(TypeError, match="register one for tuple"):
        nc.solve(unknown(nc.two_groups(1, 1, 2.0), 1.0, nc.CrossEntropy()))
