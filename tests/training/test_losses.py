"""Steps under losses for imbalance, equal to PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import nc_jax as nc
from nc_jax.networks import MLP
from nc_jax.training import Recipe
from nc_jax.training.steps import sgd_step

torch = pytest.importorskip("torch", reason="compares with PyTorch (extra peers)")
functional = torch.nn.functional

SIZES = np.asarray([50.0, 20.0, 6.0, 2.0])
OFFSETS, SCALES = np.log(SIZES / SIZES.sum()), (SIZES / SIZES.max()) ** 0.2
MARGINS, WEIGHTS = 0.5 * (2 / SIZES) ** 0.25, 1 / SIZES
TARGETS = 0.7 * np.eye(4) + 0.3 / 4


def tensor(array):
    return torch.tensor(np.asarray(array), dtype=torch.float32)


def focal(logits, labels):
    log = functional.log_softmax(logits, 1)[torch.arange(len(labels)), labels]
    return torch.mean(-((1 - log.exp()) ** 2.0) * log)


LOSSES = {
    "cross-entropy": (nc.CrossEntropy(), functional.cross_entropy),
    "vector-scaling": (
        nc.VectorScaling(OFFSETS, SCALES),
        lambda z, y: functional.cross_entropy(z * tensor(SCALES) + tensor(OFFSETS), y),
    ),
    "margins": (
        nc.size_margins(SIZES, 0.5),
        lambda z, y: functional.cross_entropy(
            z - functional.one_hot(y, 4) * tensor(MARGINS)[y][:, None], y
        ),
    ),
    "smoothing": (
        nc.LabelSmoothing(0.2),
        lambda z, y: functional.cross_entropy(z, y, label_smoothing=0.2),
    ),
    "focal": (nc.Focal(2.0), focal),
    "weights": (
        nc.ClassWeights(WEIGHTS),
        lambda z, y: torch.mean(functional.cross_entropy(z, y, tensor(WEIGHTS), reduction="none")),
    ),
    "soft-targets": (
        nc.SoftTargets(TARGETS),
        lambda z, y: functional.cross_entropy(z, tensor(TARGETS)[y]),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_steps_equal_those_of_pytorch(name):
    own_loss, criterion = LOSSES[name]
    recipe = Recipe(learning_rate=0.05, weight_decay=5e-3, loss=own_loss)
    network = MLP(12, [16], 4, jax.random.key(0))
    layers = [*network.layers, network.classifier]
    peer = torch.nn.Sequential(torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    with torch.no_grad():
        for layer, other in zip(layers, (peer[0], peer[2]), strict=True):
            other.weight.copy_(tensor(layer.kernel[...].T))
            other.bias.copy_(tensor(layer.bias[...]))
    optimiser = torch.optim.SGD(peer.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-3)
    graph, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
    velocity = jax.tree.map(jnp.zeros_like, params)
    step = jax.jit(sgd_step(graph, recipe))
    rng = np.random.default_rng(1)
    for _ in range(4):
        x, labels = 3 * rng.normal(size=(20, 12)).astype(np.float32), rng.integers(0, 4, 20)
        arguments = jnp.asarray(x), jnp.asarray(labels), jnp.full(20, 0.05, jnp.float32)
        params, stats, velocity, loss = step(
            (params, stats, velocity), *arguments, 0.05, 5e-3, jnp.ones(20, jnp.float32), own_loss
        )
        optimiser.zero_grad()
        expected = criterion(peer(torch.tensor(x)), torch.tensor(labels))
        expected.backward()
        optimiser.step()
        np.testing.assert_allclose(loss, expected.item(), rtol=2e-5)
    trained = nnx.merge(graph, params, stats).classifier.kernel[...].T
    np.testing.assert_allclose(trained, peer[2].weight.detach().numpy(), atol=2e-5)
