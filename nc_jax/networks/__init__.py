"""Networks in Flax NNX: each returns logits and named intermediate features."""

from nc_jax.networks.build import NETWORKS, Head, build_network
from nc_jax.networks.convnet import ConvNet
from nc_jax.networks.mlp import MLP, DenseResNet
from nc_jax.networks.resnet import ResNet
from nc_jax.networks.transformer import Transformer
from nc_jax.networks.vgg import VGG

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG",
    "ConvNet",
    "DenseResNet",
    "Head",
    "ResNet",
    "Transformer",
    "build_network",
]
