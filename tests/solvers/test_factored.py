"""The factored solver: theorems, certified solvers, invariances, honest statuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.solvers.parametrisations import parametrised
from nc_jax.solvers.quasi_newton import Settings, minimise_lanes

SOLVER = nc.FactoredMultiStart(restarts=4)
FEW = nc.FactoredMultiStart(restarts=2)
SQUARED = nc.MeanSquaredError()
seeds = st.integers(0, 10**6)


def solve(model, seed=0, solver=FEW):
    return nc.solve(model, solver, jax.random.key(seed))


@settings(max_examples=6)
@given(seed=seeds, budget=st.floats(0.3, 8))
def test_theorem_1_cross_entropy_collapses_from_a_cold_start(seed, budget):
    model = nc.LayerPeeled([1.0] * 4, 1.7, budget**2 / 1.7, samples=3, dimension=6)
    found = solve(model, seed)
    known = nc.theory.balanced_optimum(4, budget)
    assert found.status == nc.Status.CONVERGED
    np.testing.assert_allclose(found.restart_objectives, known.objective, rtol=1e-6)
    measured = nc.metrics.collapse_metrics(found)
    np.testing.assert_allclose(np.asarray(list(measured)), 0, atol=1e-3)


@settings(max_examples=6)
@given(seed=seeds, energy=st.floats(0.3, 5), temperature=st.floats(0.5, 3))
def test_theorem_3_contrastive(seed, energy, temperature):
    loss = nc.SupervisedContrastive(temperature)
    model = nc.LayerPeeled([3.0] * 4, feature_energy=energy, loss=loss, samples=3)
    found = solve(model, seed)
    known = nc.theory.contrastive_optimum(4, 3.0, energy, temperature)
    assert found.status == nc.Status.CONVERGED
    np.testing.assert_allclose(found.objective, known, rtol=1e-8)
    means = found.features - jnp.mean(found.features, axis=0)
    np.testing.assert_allclose(nc.metrics.etf_distance(means), 0, atol=1e-3)


@settings(max_examples=6)
@given(seed=seeds, budget=st.floats(1, 7), q=st.floats(1.2, 4))
def test_theorem_4_power_softmax(seed, budget, q):
    loss = nc.PowerSoftmax(q)
    model = nc.LayerPeeled([1.0] * 4, feature_energy=budget**2, loss=loss, samples=2)
    found = solve(model, seed, SOLVER)
    known = nc.theory.balanced_optimum(4, budget, loss).objective
    if nc.theory.softmax_condition(4, budget):
        assert found.status == nc.Status.CONVERGED
        np.testing.assert_allclose(found.objective, known, rtol=1e-6, atol=1e-9)
    else:
        assert found.status != nc.Status.CONVERGED
        assert found.objective <= known * (1 + 1e-9)


def test_a_user_given_pair_reaches_the_simplex_value_and_claims_no_certificate():
    loss = nc.SoftmaxBased(lambda s: -jnp.log(s), lambda s: 0.5 * s**2)
    found = solve(nc.LayerPeeled([1.0] * 4, feature_energy=9.0, loss=loss))
    known = nc.theory.balanced_optimum(4, 3.0, loss).objective
    np.testing.assert_allclose(found.objective, known, rtol=1e-9)
    assert found.status == nc.Status.STATIONARY
    assert np.isinf(found.gap)


@pytest.mark.parametrize("q", [1.5, 4.0])
def test_proposition_2_another_norm_has_another_optimum(q):
    model = nc.LayerPeeled([1.0] * 3, feature_energy=2.0, feature_power=q)
    found = solve(model, solver=nc.FactoredMultiStart(restarts=6))
    assert found.status == nc.Status.STATIONARY
    powers = jnp.mean(jnp.sum(jnp.abs(found.features) ** q, axis=1))
    np.testing.assert_allclose(powers, 2.0, rtol=1e-9)
    angles = np.sort(np.asarray(nc.cosines(nc.gram(found.features)))[np.triu_indices(3, 1)])
    expected = [-0.4237] * 3 if q == 4 else [-0.663, -0.410, -0.410]
    np.testing.assert_allclose(angles, expected, atol=1e-3)


def test_the_euclidean_power_is_the_euclidean_norm():
    plain = solve(nc.LayerPeeled([3.0, 2.0, 1.0], feature_energy=2.0))
    powered = solve(nc.LayerPeeled([3.0, 2.0, 1.0], feature_energy=2.0, feature_power=2.0))
    np.testing.assert_allclose(powered.objective, plain.objective, rtol=1e-10)


@pytest.mark.parametrize("loss", [nc.CrossEntropy(), SQUARED], ids=["ce", "mse"])
@settings(max_examples=6)
@given(seed=seeds)
def test_agrees_with_the_certified_layer_peeled_solvers(loss, seed):
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, 5, 4))
    model = nc.LayerPeeled(sizes, 1.0, rng.uniform(0.2, 6), loss=loss, samples=(3, 1, 2, 1))
    found, certified = solve(model, seed), nc.solve(model)
    np.testing.assert_allclose(found.objective, certified.objective, rtol=1e-7, atol=1e-9)
    assert found.objective >= certified.objective - certified.gap - 1e-13
    assert found.objective - found.gap <= certified.objective + 1e-13
    features, weights = found.sample_features, found.classifiers
    share = 1 / np.asarray(model.samples)[found.labels] / 4
    assert jnp.sum(share * jnp.sum(features**2, -1)) <= model.feature_energy * (1 + 1e-12)
    assert jnp.sum(weights**2) / 4 <= model.weight_energy * (1 + 1e-12)


@pytest.mark.parametrize("bias", [None, 0.0, 0.05])
@pytest.mark.parametrize("loss", [nc.CrossEntropy(), SQUARED], ids=["ce", "mse"])
@settings(max_examples=4)
@given(seed=seeds)
def test_agrees_with_the_certified_unconstrained_solvers(loss, bias, seed):
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, 5, 4))
    penalty = np.sqrt(sizes.max()) / sizes.sum() * np.exp(rng.uniform(-4, -0.2))
    model = nc.UnconstrainedFeatures(sizes, 2 * penalty, penalty / 2, bias, loss, samples=2)
    found, certified = solve(model, seed), nc.solve(model)
    np.testing.assert_allclose(found.objective, certified.objective, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.cost(found.layers), found.objective, rtol=1e-12)
    assert found.objective - found.gap <= certified.objective + 1e-12


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_one_deep_layer_is_the_layer_peeled_model(activation):
    sizes = nc.two_groups(3, 2, 8.0)
    deep = solve(nc.DeepLayerPeeled(sizes, 1, 1.2, 4.0, activation=activation))
    shallow = nc.solve(nc.LayerPeeled(sizes, 1.2, 4.0))
    assert deep.status == nc.Status.CONVERGED
    np.testing.assert_allclose(deep.objective, shallow.objective, rtol=1e-9)
    gram = np.asarray(deep.classifier_gram)
    np.testing.assert_allclose(gram, shallow.classifier_gram, atol=1e-4)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("biased", [True, False])
def test_deep_layers_keep_their_budgets_and_report_their_residual(joint, biased):
    budget = {"weight_energy": 3.0} if joint else {"layer_energies": [1.0, 2.0]}
    model = nc.DeepLayerPeeled([2.0, 1.0, 1.0], 2, biased=biased, feature_energy=3.0, **budget)
    found = solve(model)
    energies = [float(jnp.sum(w**2)) / 3 for w in found.layers.weights]
    if joint:
        assert sum(energies) <= 3 * (1 + 1e-12)
    else:
        assert energies[0] <= 1 + 1e-12
        assert energies[1] <= 2 + 1e-12
    features = found.sample_features
    assert jnp.sum(features**2) / 3 <= 3 * (1 + 1e-12)
    hidden = jax.nn.relu(features @ found.layers.weights[0].T + (found.layers.biases or (0,))[0])
    np.testing.assert_allclose(found.hidden_features()[1], hidden, atol=1e-12)
    last = hidden @ found.classifiers.T + (found.bias if biased else 0)
    np.testing.assert_allclose(found.sample_logits, last, atol=1e-12)
    losses = nc.CrossEntropy()(last, found.labels)
    expected = jnp.sum(jnp.asarray([0.5, 0.25, 0.25]) * losses)
    np.testing.assert_allclose(found.objective, expected, rtol=1e-12)
    assert found.status in (nc.Status.STATIONARY, nc.Status.NOT_CONVERGED)


def test_deep_linear_balanced_is_an_etf():
    # With a joint budget the layers share it; linear heads collapse to a frame.
    model = nc.DeepLayerPeeled([1.0] * 3, 2, 2.0, 6.0, activation="identity", samples=2)
    found = solve(model, solver=nc.FactoredMultiStart(restarts=8))
    measured = nc.metrics.etf_distance(found.logits - jnp.mean(found.logits, axis=0))
    np.testing.assert_allclose(measured, 0, atol=1e-3)


@settings(max_examples=4)
@given(seed=seeds)
def test_rotating_the_feature_space_changes_no_cost(seed):
    rng = np.random.default_rng(seed)
    model = nc.UnconstrainedFeatures([3.0, 2.0, 1.0], 0.1, 0.2, 0.3, samples=2, dimension=5)
    layers = parametrised(model).layers(parametrised(model).start(jax.random.key(seed)))
    rotation = jnp.asarray(np.linalg.qr(rng.normal(size=(5, 5)))[0])
    turned = layers._replace(
        features=layers.features @ rotation, weights=(layers.weights[0] @ rotation,)
    )
    np.testing.assert_allclose(model.cost(turned), model.cost(layers), rtol=1e-12)


def test_a_batch_gives_every_lane_its_own_answer_and_status():
    energies = np.array([1.0, np.nan, 4.0, 9.0])
    batch = nc.LayerPeeled([3.0, 2.0, 1.0], feature_energy=energies)
    found = nc.solve_batch(batch, FEW, jax.random.key(1))
    assert found.status[1] == nc.Status.INVALID
    assert np.isnan(found.objective[1])
    assert found.features.shape == (4, 3, 3)
    certified = nc.solve(nc.LayerPeeled([3.0, 2.0, 1.0], feature_energy=energies[[0, 2, 3]]))
    np.testing.assert_allclose(found.objective[np.array([0, 2, 3])], certified.objective, rtol=1e-9)
    assert list(nc.phase(found))[1] == "unresolved"


def test_too_few_iterations_are_confessed():
    short = nc.FactoredMultiStart(restarts=2, max_iterations=3)
    found = solve(nc.LayerPeeled([3.0, 2.0, 1.0], loss=nc.PowerSoftmax(3.0)), solver=short)
    assert found.status == nc.Status.NOT_CONVERGED
    assert nc.phase(found) == "unresolved"


def test_phases_read_off_the_factors_agree_with_the_certified_ones():
    ratio = float(nc.theory.collapse_ratio(3, 2, 1.5))
    for factor in (0.5, 1.5):
        model = nc.LayerPeeled(nc.two_groups(3, 2, ratio * factor), feature_energy=1.5**2)
        assert nc.phase(solve(model)) == nc.phase(nc.solve(model))


def test_single_precision():
    model = nc.LayerPeeled(np.array([3, 2, 1], np.float32), feature_energy=np.float32(3))
    found, exact = solve(model), nc.solve(nc.LayerPeeled([3.0, 2.0, 1.0], feature_energy=3.0))
    assert found.objective.dtype == jnp.float32
    assert found.status == nc.Status.CONVERGED
    np.testing.assert_allclose(found.objective, exact.objective, rtol=1e-5)


def test_the_queue_minimises_every_lane_whatever_its_length():
    rng = np.random.default_rng(0)
    lanes, size = 300, 6
    curvatures = jnp.asarray(
        np.exp(rng.uniform(0, 7, (lanes, size)) * rng.uniform(size=(lanes, 1)))
    )
    centres = jnp.asarray(rng.normal(size=(lanes, size)))

    def objective(data, x):
        return 0.5 * jnp.sum(data[0] * (x - data[1]) ** 2) + jnp.sum(x**4) / 20

    keys = jax.random.split(jax.random.key(0), lanes)
    found = minimise_lanes(
        objective,
        lambda data, key: jax.random.normal(key, (size,)),
        (curvatures, centres),
        keys,
        Settings(1e-11, 1e-12, 500, 5, 64),
    )
    gradients = jax.vmap(jax.grad(objective, argnums=1))((curvatures, centres), found.point)
    np.testing.assert_allclose(gradients, 0, atol=1e-7)
    np.testing.assert_allclose(
        found.value, jax.vmap(objective)((curvatures, centres), found.point), rtol=1e-14
    )
    assert jnp.max(found.evaluations) > 2 * jnp.min(found.evaluations)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: nc.DeepLayerPeeled([2.0, 1.0], 0), "num_layers"),
        (lambda: nc.DeepLayerPeeled([2.0, 1.0], 2, activation="tanh"), "activation"),
        (lambda: nc.DeepLayerPeeled([2.0, 1.0], 2, widths=(3,)), "widths"),
        (lambda: nc.DeepLayerPeeled([2.0, 1.0], 2, layer_energies=[1.0]), "layer_energies"),
        (lambda: nc.DeepLayerPeeled([2.0, 1.0], 2, weight_energy=-1.0), "weight_energy"),
        (lambda: nc.LayerPeeled([2.0, 1.0], samples=0), "samples"),
        (lambda: nc.LayerPeeled([2.0, 1.0], samples=(1, 2, 3)), "samples"),
        (lambda: nc.LayerPeeled([2.0, 1.0], feature_power=1.0), "feature_power"),
        (lambda: nc.SupervisedContrastive(0.0), "temperature"),
        (lambda: nc.FactoredMultiStart(restarts=0), "restarts"),
    ],
)
def test_bad_input_names_the_argument(build, name):
    with pytest.raises(ValueError, match=name):
        build()


def test_a_convex_solver_refuses_what_it_cannot_certify():
    with pytest.raises(TypeError, match="loss"):
        nc.DeepLayerPeeled([2.0, 1.0], 2, loss=nc.SupervisedContrastive())
    powered = nc.LayerPeeled([2.0, 1.0, 1.0], feature_power=3.0)
    with pytest.raises(ValueError, match="feature_power"):
        nc.solve(powered, nc.ReducedInteriorPoint())
    with pytest.raises(ValueError, match="FactoredMultiStart"):
        nc.solve(nc.DeepLayerPeeled([2.0, 1.0], 2), nc.ReducedInteriorPoint())


def test_a_batch_of_losses_makes_a_batch():
    """A loss's own number may be the only thing that differs between lanes."""
    powers = jnp.array([1.5, 2.5])
    model = nc.LayerPeeled([1.0] * 3, 2.0, 2.0, nc.PowerSoftmax(powers))
    assert model.batch_shape == (2,)
    found = solve(model)
    assert found.objective.shape == (2,)
    for power, objective in zip(powers, found.objective, strict=True):
        known = nc.theory.balanced_optimum(3, 2.0, nc.PowerSoftmax(power))
        np.testing.assert_allclose(objective, known.objective, rtol=1e-6)
    with pytest.raises(ValueError, match="loss"):
        nc.LayerPeeled([1.0] * 3, jnp.ones(3), 2.0, nc.PowerSoftmax(powers))
