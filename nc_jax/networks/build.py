"""Networks by name."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array

from nc_jax.networks.convnet import DENSE, ConvNet
from nc_jax.networks.layers import scaled
from nc_jax.networks.mlp import MLP, DenseResNet
from nc_jax.networks.resnet import DEPTHS, ResNet
from nc_jax.networks.vgg import STAGES, VGG

# Blocks of two stages, for images of 8×8.
SMALL = (2, 2)
# Blocks of the stages on FashionMNIST, CIFAR-10, CIFAR-100, STL-10 (Wang, Gai, Zhang 2024).
STAGED = ((5, 4), (2, 3, 4), (3, 3, 4, 4), (5, 5, 5, 5))
# Biases of the hidden layers and of the classifier.
BIASES = {"": (True, True), "-bias-free": (False, False), "-head-bias": (False, True)}
HIDDEN = (512, 512, 512)
NORMALISED_HIDDEN = (1024, 1024)
DENSE_RESNET_WIDTH = 1000
# Blocks of the dense residual networks, by what their names end in.
DENSE_RESNETS = {"": 10, "-one": 1}


class Head(NamedTuple):
    """A network's last layers, as far as weight decay sees them.

    Attributes:
        branches: outputs of batch normalisations whose sum is the classifier's input,
            with nothing between that could change their scale but ReLU and pooling;
            0 where no layer is normalised.
        rectified: whether a ReLU is last, so that no feature is negative.
        layers: dense layers from the last normalisation on, or in a plain network from
            its first layer's or last convolution's output on; the classifier is one.
        bias: whether they have biases.
    """

    branches: int
    rectified: bool = True
    layers: int = 1
    bias: bool = True


class Network(NamedTuple):
    """A kind of network.

    Attributes:
        make: (image shape [h, w, c], K, key, width) to a module.
        features: name of the features that the classifier sees.
        side: that images must have, or None for any.
        head: its last layers.
    """

    make: Callable[[tuple[int, ...], int, Array, float], Any]
    features: str
    side: int | None
    head: Head


def _vgg(depth: int) -> Network:
    return Network(lambda s, k, key, width: VGG(depth, s[-1], k, key, width), "dense2", 32, Head(1))


def _resnet(blocks: tuple[int, ...], bottleneck: bool = False) -> Network:
    # Every block of the last stage adds a branch to the one of its projection.
    head = Head(blocks[-1] + 1)
    return Network(
        lambda s, k, key, width: ResNet(blocks, s[-1], k, key, width, bottleneck),
        "pooled",
        None,
        head,
    )


def _mlp(bias: bool, head_bias: bool) -> Network:
    def make(shape: tuple[int, ...], classes: int, key: Array, width: float) -> MLP:
        widths = [scaled(hidden, width) for hidden in HIDDEN]
        return MLP(math.prod(shape), widths, classes, key, bias, head_bias)

    head = Head(0, layers=len(HIDDEN), bias=head_bias)
    return Network(make, f"layer{len(HIDDEN)}", None, head)


def _normalised_mlp(rectified: bool) -> Network:
    def make(shape: tuple[int, ...], classes: int, key: Array, width: float) -> MLP:
        widths = [scaled(hidden, width) for hidden in NORMALISED_HIDDEN]
        return MLP(math.prod(shape), widths, classes, key, normalise=True, rectify_last=rectified)

    return Network(make, f"layer{len(NORMALISED_HIDDEN)}", None, Head(1, rectified))


def _convnet(bias: bool, head_bias: bool, normalise: bool = False) -> Network:
    def make(shape: tuple[int, ...], classes: int, key: Array, width: float) -> ConvNet:
        return ConvNet(shape, classes, key, width, bias, head_bias, normalise)

    head = Head(1) if normalise else Head(0, layers=len(DENSE) + 1, bias=head_bias)
    return Network(make, f"layer{len(DENSE)}", None, head)


def _pooled_convnet(shape: tuple[int, ...], classes: int, key: Array, width: float) -> ConvNet:
    return ConvNet(shape, classes, key, width, normalise=True, pooled=True)


def _dense_resnet(blocks: int) -> Network:
    def make(shape: tuple[int, ...], classes: int, key: Array, width: float) -> DenseResNet:
        size = scaled(DENSE_RESNET_WIDTH, width)
        return DenseResNet(math.prod(shape), size, blocks, classes, key)

    return Network(make, f"block{blocks}", None, Head(blocks + 1))


NETWORKS: dict[str, Network] = {
    **{f"vgg{depth}": _vgg(depth) for depth in STAGES},
    **{f"resnet{depth}": _resnet(*DEPTHS[depth]) for depth in DEPTHS},
    "small-resnet": _resnet(SMALL),
    **{f"resnet-{'-'.join(map(str, blocks))}": _resnet(blocks) for blocks in STAGED},
    **{f"mlp{suffix}": _mlp(*biases) for suffix, biases in BIASES.items()},
    "mlp-norm": _normalised_mlp(rectified=True),
    "mlp-norm-linear": _normalised_mlp(rectified=False),
    **{f"convnet{suffix}": _convnet(*biases) for suffix, biases in BIASES.items()},
    "convnet-norm": _convnet(True, True, normalise=True),
    "convnet-norm-pooled": Network(_pooled_convnet, "pooled", None, Head(1)),
    **{f"dense-resnet{suffix}": _dense_resnet(number) for suffix, number in DENSE_RESNETS.items()},
}


def build_network(
    name: str, shape: tuple[int, ...], num_classes: int, key: Array, width: float = 1.0
) -> Any:
    """A network with fresh weights.

    Args:
        name: one of :data:`NETWORKS`.
        shape: [height, width, channels] of the images.
        num_classes: K.
        key: of the weights.
        width: multiplies the numbers of channels.

    Raises:
        ValueError: an unknown name, a shape that the network does not take.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}")
    if not 0 < width < math.inf:
        raise ValueError(f"width must be positive and finite, got {width}")
    kind = NETWORKS[name]
    if kind.side is not None and tuple(shape[:2]) != (kind.side, kind.side):
        raise ValueError(f"{name} takes images of {kind.side}×{kind.side}, got {shape}")
    return kind.make(tuple(shape), num_classes, key, width)
