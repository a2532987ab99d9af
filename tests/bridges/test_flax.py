"""Flax NNX and Linen: the last linear layer found or named, the network left as it was."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nc_jax import bridges, metrics

X = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
Y = np.arange(50) % 3
LOADER = [(X[first : first + 16], Y[first : first + 16]) for first in range(0, 50, 16)]


class Network(nnx.Module):
    def __init__(self, bias=True):
        rngs = nnx.Rngs(0)
        self.body = nnx.Linear(8, 6, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(6, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(6, 3, use_bias=bias, rngs=rngs)])

    def features(self, x):
        return self.dropout(nnx.relu(self.norm(self.body(x))))

    def __call__(self, x):
        return {"logits": self.heads[0](self.features(x))}


class Dense(linen.Module):
    @linen.compact
    def __call__(self, image, train):
        x = linen.BatchNorm(use_running_average=not train)(linen.Dense(6)(image))
        x = linen.Dropout(0.5, deterministic=not train)(linen.relu(x))
        self.sow("intermediates", "features", x)
        return jax.nn.log_softmax(linen.Dense(3, name="head")(x))


def linen_network():
    module = Dense()
    return module, module.init(jax.random.key(0), X[:2], train=False)


def assert_same(seen, layer):
    for name, value in metrics.collapse_metrics(layer)._asdict().items():
        np.testing.assert_allclose(seen.collapse[name], value, 1e-4, 1e-6, err_msg=name)


@pytest.mark.parametrize(("bias", "layer"), [(True, None), (False, "heads.0")])
def test_nnx(bias, layer):
    module = Network(bias)
    stream = bridges.from_nnx(module, LOADER, layer)
    # The weights are those of the moment at which the stream is asked.
    module.body.kernel[...] = 2 * module.body.kernel[...]
    module.heads[0].kernel[...] = 3 * module.heads[0].kernel[...]
    call, before = nnx.Linear.__call__, jax.tree.leaves(nnx.state(module))
    seen = stream.measure()
    assert nnx.Linear.__call__ is call
    assert not module.norm.use_running_average and not module.dropout.deterministic
    for one, other in zip(before, jax.tree.leaves(nnx.state(module)), strict=True):
        assert one is other
    module.eval()
    head = module.heads[0]
    own = head.bias[...] if bias else None
    assert (stream.bias is None) == (not bias)
    features = module.features(jnp.asarray(X))
    assert_same(seen, metrics.NetworkLayer(features, Y, head.kernel[...].T, own))


def test_linen():
    module, variables = linen_network()
    stream = bridges.from_linen(module, variables, LOADER, keywords={"train": False})
    _, sown = module.apply(variables, X, train=False, mutable="intermediates")
    (features,) = sown["intermediates"]["features"]
    head = variables["params"]["head"]
    layer = metrics.NetworkLayer(features, Y, head["kernel"].T, head["bias"])
    assert_same(stream.measure(), layer)
    named = bridges.from_linen(
        module,
        variables,
        [({"image": x}, y % 6) for x, y in LOADER],
        layer="Dense_0",
        keywords={"train": False},
    )
    assert named.classifiers.shape == (6, 8)


def test_bfloat16_features():
    module = nnx.Sequential(
        nnx.Linear(8, 6, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)),
        nnx.Linear(6, 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(1)),
    )
    (part,) = bridges.from_nnx(module, LOADER).batches()
    assert part[0].dtype == np.float32
    np.testing.assert_array_equal(part[0], part[0].astype(jnp.bfloat16).astype(np.float32))


class Scaled(nnx.Module):
    def __init__(self):
        self.head = nnx.Linear(8, 3, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.head(x) * x[:, :1]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: bridges.from_nnx(Scaled(), LOADER), "last nnx.Linear that ran, 'head', does not"),
        (lambda: bridges.from_nnx(Network(), LOADER, "fc"), "got 'fc'; 'body', 'heads.0'"),
        (lambda: bridges.from_nnx(Network(), []), "at least one sample"),
        (lambda: bridges.from_nnx(Dense(), LOADER), "must be a flax.nnx.Module, got Dense"),
        (lambda: bridges.from_linen(Network(), {}, LOADER), "must be a flax.linen.Module"),
        (lambda: bridges.from_linen(Dense(), {}, LOADER), "collection 'params'"),
        (
            lambda: bridges.from_linen(
                *linen_network(), LOADER, layer="x", keywords={"train": False}
            ),
            "path of a nn.Dense that runs, got 'x'; 'Dense_0', 'head'",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_labels_beyond_the_head_are_named():
    with pytest.raises(ValueError, match="batch 0: labels must be 0…2, got 3"):
        bridges.from_nnx(Network(), [(X, Y + 1)]).measure()
