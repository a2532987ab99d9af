"""Networks: shapes, parameter counts, features, padding that touches nothing, convolutions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nc_jax.networks import NETWORKS, VGG, DenseResNet, ResNet, build_network
from nc_jax.networks.convolution import as_patches, convolve, native, tiled
from nc_jax.networks.pooling import max_pool
from nc_jax.networks.winograd import convolve_by_tiles, kernel_gradient
from tests.networks.filled import filled

KEY = jax.random.key(0)


def count(module):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def normal(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def value_and_slopes(function, x, kernel):
    def loss(x, kernel):
        return jnp.mean(jnp.sin(function(x, kernel) / 10))

    return jax.tree.leaves(jax.jit(jax.value_and_grad(loss, (0, 1)))(x, kernel))


@pytest.mark.parametrize(
    ("shape", "outputs"),
    [
        ((4, 8, 8, 8), 16),
        ((3, 6, 10, 9), 5),
        ((5, 4, 4, 40), 64),
        # In parts.
        ((2, 32, 32, 130), 8),
    ],
)
def test_convolutions_agree(shape, outputs):
    x, kernel = normal(shape), normal((3, 3, shape[-1], outputs), 1)
    known = value_and_slopes(native, x, kernel)
    for function in (as_patches, convolve_by_tiles, tiled, convolve):
        for one, other in zip(value_and_slopes(function, x, kernel), known, strict=True):
            scale = float(jnp.max(jnp.abs(other)))
            np.testing.assert_allclose(one, other, atol=1e-5 * scale)
    slope = normal((*shape[:3], outputs), 2)
    own = jax.jit(kernel_gradient)(x, slope)
    other = jax.vjp(lambda kernel: native(x, kernel), kernel)[1](slope)[0]
    np.testing.assert_allclose(own, other, atol=1e-5 * float(jnp.max(jnp.abs(other))))


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 2, 9), (3, 2, 8), (5, 1, 7), (1, 2, 7)])
def test_other_kernels_agree(size, stride, side):
    x, kernel = normal((2, side, side, 3)), normal((size, size, 3, 4), 1)
    other = native(x, kernel, stride)
    np.testing.assert_allclose(convolve(x, kernel, stride), other, atol=1e-4)


@pytest.mark.parametrize(("batch", "side", "stride"), [(12, 32, 2), (5, 33, 2), (12, 17, 1)])
def test_patches_of_large_images_in_several_parts_agree(batch, side, stride):
    x, kernel = normal((batch, side, side, 3)), normal((3, 3, 3, 4), 1)
    known = value_and_slopes(lambda x, kernel: native(x, kernel, stride), x, kernel)
    own = value_and_slopes(lambda x, kernel: as_patches(x, kernel, stride), x, kernel)
    for one, other in zip(own, known, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * float(jnp.max(jnp.abs(other))))


# Counts of the published networks in this form, worked out layer by layer.
@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        ("vgg11", 1, 28_164_746),
        ("vgg13", 3, 28_350_794),
        ("resnet18", 3, 11_173_962),
        ("resnet34", 3, 21_282_122),
        ("resnet50", 3, 23_520_842),
    ],
)
def test_parameter_counts(name, channels, parameters):
    network = nnx.eval_shape(lambda: build_network(name, (32, 32, channels), 10, jax.random.key(0)))
    assert count(network) == parameters


@pytest.mark.parametrize("name", [*NETWORKS])
def test_every_network_names_the_classifier_s_features(name):
    def build():
        network = build_network(name, (32, 32, 1), 4, jax.random.key(1), width=1 / 32)
        return network(jnp.zeros((3, 32, 32, 1)))

    logits, features = jax.eval_shape(build)
    assert logits.shape == (3, 4) and features[NETWORKS[name].features].ndim == 2


@pytest.mark.parametrize("name", ["vgg11", "small-resnet", "mlp-bias-free", "dense-resnet"])
def test_logits_are_the_classifier_of_the_last_features(name):
    side = NETWORKS[name].side or 8

    def build():
        return build_network(name, (side, side, 1), 4, jax.random.key(1), width=1 / 32)

    state = filled(build)

    @jax.jit
    def run(x):
        network = nnx.merge(*state)
        logits, features = network(x)
        last = features[NETWORKS[name].features]
        return logits, last, network.classifier(last)

    logits, last, other = run(normal((3, side, side, 1)))
    assert last.ndim == 2
    np.testing.assert_allclose(logits, other, atol=1e-6)
    assert logits.shape == (3, 4) and float(jnp.min(last)) >= 0


def test_initial_weights_are_uniform_by_fan_in():
    network = VGG(11, 3, 10, jax.random.key(0), 0.5)
    kernel = network.stages[2][1].layer.kernel[...]
    bound = 1 / np.sqrt(9 * kernel.shape[2])
    assert float(jnp.max(jnp.abs(kernel))) <= bound
    np.testing.assert_allclose(jnp.std(kernel), bound / np.sqrt(3), rtol=0.01)
    bias = network.dense[1].layer.bias[...]
    assert 0 < float(jnp.max(jnp.abs(bias))) <= 1 / np.sqrt(2048)


@pytest.mark.parametrize("name", ["vgg11", "small-resnet", "dense-resnet"])
def test_padding_touches_nothing(name):
    side = NETWORKS[name].side or 8
    x, rows = normal((8, side, side, 1)), 5
    weights = jnp.where(jnp.arange(8) < rows, 1 / rows, 0.0)

    def build():
        return build_network(name, (side, side, 1), 3, jax.random.key(0), width=1 / 16)

    graph, params, stats = filled(build)

    @jax.jit
    def run(x, weights):
        def loss(params):
            module = nnx.merge(graph, params, stats, copy=True)
            logits, _ = module(x, True, weights)
            return jnp.sum(weights * logits[:, 0] ** 2), nnx.state(module, nnx.BatchStat)

        return jax.value_and_grad(loss, has_aux=True)(params)

    padded = jax.tree.leaves(run(x, weights))
    short = jax.tree.leaves(run(x[:rows], jnp.full(rows, 1 / rows)))
    for one, other in zip(padded, short, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1, float(jnp.max(jnp.abs(other)))))


def test_pooling_takes_the_largest_and_its_gradient_goes_there():
    x, slope = normal((3, 6, 4, 5)), normal((3, 3, 2, 5), 1)

    def pooled(x):
        # Made anew by a compiler that likes to.
        return jnp.sum(slope * max_pool(jnp.tanh(jax.nn.relu(x) * 0.37 + 0.1)))

    squares = np.asarray(x).reshape(3, 3, 2, 2, 2, 5)
    largest = squares.max(axis=(2, 4), keepdims=True)
    np.testing.assert_array_equal(max_pool(x), largest[:, :, 0, :, 0])
    here = np.where(squares == largest, np.asarray(slope)[:, :, None, :, None], 0).reshape(x.shape)
    inner = np.tanh(np.maximum(x, 0) * 0.37 + 0.1)
    known = here * (1 - inner**2) * 0.37 * (np.asarray(x) > 0)
    np.testing.assert_allclose(jax.jit(jax.grad(pooled))(x), known, atol=1e-6)
    # Of equal ones only one gets it.
    gradient = jax.grad(lambda x: jnp.sum(slope * max_pool(x)))(jnp.zeros_like(x))
    np.testing.assert_allclose(jnp.sum(gradient), jnp.sum(slope), rtol=1e-5)
    assert jnp.sum(gradient != 0) == slope.size


@pytest.mark.parametrize(("name", "layers"), [("mlp-bias-free", 4), ("convnet-bias-free", 6)])
def test_bias_free_networks_are_homogeneous(name, layers):
    shape = (8, 8, 2)
    state = filled(lambda: build_network(name, shape, 3, jax.random.key(0), width=1 / 16))

    @jax.jit
    def run(params, x):
        return nnx.merge(state[0], params, state[2])(x)[0]

    x = normal((4, *shape))
    known = run(state[1], x)
    np.testing.assert_allclose(run(state[1], 3.0 * x), 3.0 * known, rtol=1e-4, atol=1e-6)
    double = jax.tree.map(lambda leaf: 2 * leaf, state[1])
    np.testing.assert_allclose(run(double, x), 2.0**layers * known, rtol=1e-4, atol=1e-6)
    assert all(leaf.ndim > 1 for leaf in jax.tree.leaves(state[1]))


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_a_bias_of_the_head_alone(name):
    own = [
        nnx.eval_shape(lambda suffix=suffix: build_network(name + suffix, (8, 8, 1), 3, KEY, 1 / 4))
        for suffix in ("-bias-free", "-head-bias", "")
    ]
    assert count(own[1]) == count(own[0]) + 3 and count(own[2]) > count(own[1])


def test_half_precision_keeps_statistics_in_single():
    state = filled(lambda: ResNet((1, 1), 1, 3, jax.random.key(0), width=1 / 8))

    @jax.jit
    def run(x):
        network = nnx.merge(*state, copy=True)
        return network(x, True)[0], nnx.state(network)

    logits, after = run(normal((4, 8, 8, 1)).astype(jnp.bfloat16))
    assert logits.dtype == jnp.bfloat16
    for leaf in jax.tree.leaves(after):
        assert leaf.dtype == jnp.float32


def test_bad_arguments_are_named():
    key = jax.random.key(0)
    for call, named in [
        (lambda: build_network("alexnet", (32, 32, 1), 10, key), "network must be one of"),
        (lambda: build_network("vgg11", (28, 28, 1), 10, key), "32×32"),
        (lambda: build_network("mlp", (8, 8, 1), 10, key, width=0.0), "width"),
        (lambda: VGG(12, 1, 10, key), "depth"),
        (lambda: ResNet((), 1, 10, key), "blocks"),
    ]:
        with pytest.raises(ValueError, match=named):
            call()
    assert count(DenseResNet(5, 4, 2, 3, key)) == 24 + 4 * 20 + 5 * 8 + 15
