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

# Numbers of blocks in two stages, for images of 8×8.
SMALL = (2, 2)
# Numbers of blocks by stage on FashionMNIST, CIFAR-10, CIFAR-100, STL-10 (Wang, Gai, Zhang 2024).
STAGED = ((5, 4), (2, 3, 4), (3, 3, 4, 4), (5, 5, 5, 5))
# Whether the hidden layers and the classifier have biases.
BIASES = {"": (True, True), "-bias-free": (False, False), "-head-bias": (False, True)}
HIDDEN = (512, 512, 512)
NORMALISED_HIDDEN = (1024, 1024)
DENSE_RESNET_WIDTH = 1000
# Numbers of blocks of the dense residual networks, by the end of their names.
DENSE_RESNETS = {"": 10, "-one": 1}


class Head(NamedTuple):
    """The properties of a network's last layers that matter for weight decay.

    Attributes:
        branches: number of batch normalisations whose outputs are summed to the classifier's
            input, with only ReLU and pooling, which keep the scale, in between;
            0 if no layer is normalised.
        rectified: whether a ReLU comes last, so that features are nonnegative.
        layers: number of dense layers from the last normalisation on, or in a plain network
            from the output of its first layer or last convolution on, with the classifier.
        bias: whether these layers have biases.
    """

    branches: int
    rectified: bool = True
    layers: int = 1
    bias: bool = True


class Network(NamedTuple):
    """A kind of network.

    Attributes:
        make: a function from (image shape [h, w, c], K, key, width) to a module.
        features: name of the features that are the classifier's input.
        side: the required height and width of images, or None for any.
        head: properties of its last layers.
    """

    make: Callable[[tuple[int, ...], int, Array, float], Any]
    features: str
    side: int | None
    head: Head


def _vgg(depth: int) -> Network:
    return Network(lambda s, k, key, width: VGG(depth, s[-1], k, key, width), "dense2", 32, Head(1))


def _resnet(blocks: tuple[int, ...], bottleneck: bool = False) -> Network:
    # Every block of the last stage adds a branch to that of its projection.
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
    """A network with random initial weights.

    Args:
        name: a name in :data:`NETWORKS`.
        shape: [height, width, channels] of the images.
        num_classes: K.
        key: PRNG key of the weights.
        width: factor on the numbers of channels.

    Raises:
        ValueError: an unknown name, or a shape that the network does not accept.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}")
    if not 0 < width < math.inf:
        raise ValueError(f"width must be positive and finite, got {width}")
    kind = NETWORKS[name]
    if kind.side is not None and tuple(shape[:2]) != (kind.side, kind.side):
        raise ValueError(f"{name} needs images of {kind.side}×{kind.side}, got {shape}")
    return kind.make(tuple(shape), num_classes, key, width)
