"""Training steps equal to PyTorch's: same weights, same batches, several steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nc_jax.networks import VGG, ResNet
from nc_jax.training import Recipe
from nc_jax.training.steps import sgd_step

torch = pytest.importorskip("torch", reason="compares with PyTorch (extra peers)")

from benchmarks.torch_networks import copied, torch_resnet, torch_vgg  # noqa: E402
from tests.networks.filled import filled  # noqa: E402

# At larger steps both float32 runs leave the float64 one after two of them, at a ReLU's kink.
RECIPE = Recipe(learning_rate=0.01, weight_decay=5e-3)


@pytest.mark.parametrize("kind", ["vgg", "resnet"])
def test_steps_equal_those_of_pytorch(kind):
    rng = np.random.default_rng(0)
    key = jax.random.key(3)
    if kind == "vgg":
        state, peer = filled(lambda: VGG(11, 1, 10, key, 1 / 8)), torch_vgg(11, 1, 1 / 8)
        shape = (32, 32, 32, 1)
    else:
        state = filled(lambda: ResNet((1, 2), 3, 10, key, 1 / 4))
        peer = torch_resnet((1, 2), 3, 1 / 4)
        shape = (32, 16, 16, 3)
    network = nnx.merge(*state)
    copied(network, peer)
    optimiser = torch.optim.SGD(
        peer.parameters(),
        lr=RECIPE.learning_rate,
        momentum=RECIPE.momentum,
        weight_decay=RECIPE.weight_decay,
    )
    graph, params, stats = nnx.split(network, nnx.Param, nnx.BatchStat)
    velocity = jax.tree.map(jnp.zeros_like, params)
    factors = np.linspace(0.5, 2, 10).astype(np.float32)
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(factors))
    step = jax.jit(sgd_step(graph, RECIPE))
    for _ in range(4):
        x, labels = rng.normal(size=shape).astype(np.float32), rng.integers(0, 10, shape[0])
        weights = jnp.full(shape[0], 1 / shape[0])
        params, stats, velocity, own = step(
            (params, stats, velocity),
            jnp.asarray(x),
            jnp.asarray(labels),
            weights,
            RECIPE.learning_rate,
            RECIPE.weight_decay,
            jnp.asarray(factors[labels]),
            RECIPE.loss,
        )
        optimiser.zero_grad()
        output = peer(torch.tensor(x.transpose(0, 3, 1, 2)))
        loss = criterion(output, torch.tensor(labels))
        loss.backward()
        optimiser.step()
        np.testing.assert_allclose(own, loss.item(), rtol=1e-5)
    trained = nnx.merge(graph, params, stats)
    x = rng.normal(size=shape).astype(np.float32)
    peer.eval()
    with torch.no_grad():
        other = peer(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(trained(jnp.asarray(x))[0], other, atol=1e-4 * np.abs(other).max())
