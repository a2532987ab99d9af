"""The same networks in PyTorch, and copies of weights into them."""

import numpy as np
import torch
from flax import nnx
from torch import nn

from nc_jax.networks import layers, vgg


def torch_vgg(depth, channels, width, num_classes=10):
    """VGG with batch normalisation instead of dropout."""
    parts, stages = [], zip(vgg.STAGES[depth], vgg.CHANNELS, strict=True)
    for number, outputs in stages:
        outputs = layers.scaled(outputs, width)
        for _ in range(number):
            parts += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs)]
            parts.append(nn.ReLU())
            channels = outputs
        parts.append(nn.MaxPool2d(2))
    parts.append(nn.Flatten())
    dense = layers.scaled(vgg.DENSE, width)
    for inputs in (channels, dense):
        parts += [nn.Linear(inputs, dense), nn.BatchNorm1d(dense), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(dense, num_classes))


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.a = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.b = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm_a, self.norm_b = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None
        self.projection_norm = nn.BatchNorm2d(outputs) if changes else None

    def forward(self, x):
        """The block's output."""
        shortcut = x
        if self.projection is not None and self.projection_norm is not None:
            shortcut = self.projection_norm(self.projection(x))
        y = torch.relu(self.norm_a(self.a(x)))
        return torch.relu(self.norm_b(self.b(y)) + shortcut)


def torch_resnet(blocks, channels, width, num_classes=10):
    """A ResNet in CIFAR form."""
    inputs = layers.scaled(64, width)
    parts = [nn.Conv2d(channels, inputs, 3, 1, 1, bias=False), nn.BatchNorm2d(inputs), nn.ReLU()]
    for place, (number, base) in enumerate(zip(blocks, (64, 128, 256, 512), strict=False)):
        outputs = layers.scaled(base, width)
        for block in range(number):
            parts.append(Block(inputs, outputs, 2 if place and not block else 1))
            inputs = outputs
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes)]
    return nn.Sequential(*parts)


def leaves(module):
    """Layers of one of our networks in the order in which they are used."""
    if isinstance(module, layers.Dense | layers.Convolution | layers.BatchNorm):
        return [module]
    if hasattr(module, "convolutions"):
        pairs = zip(module.convolutions, module.norms, strict=True)
        own = [layer for pair in pairs for layer in pair]
        return own + [x for x in (module.projection, module.projection_norm) if x is not None]
    names = ("stem", "stem_norm", "stages", "dense", "layer", "norm", "classifier")
    parts = [getattr(module, name) for name in names if hasattr(module, name)]
    if isinstance(module, nnx.List):
        parts = list(module)
    return [leaf for part in parts for leaf in leaves(part)]


def peers(module):
    """PyTorch's layers in the order in which they are used."""
    if isinstance(module, Block):
        own = [module.a, module.norm_a, module.b, module.norm_b]
        return own + [x for x in (module.projection, module.projection_norm) if x is not None]
    if isinstance(module, nn.Sequential):
        return [leaf for part in module for leaf in peers(part)]
    return [module] if list(module.parameters()) else []


def copied(network, peer):
    """Copies our weights into PyTorch's layers."""
    for own, other in zip(leaves(network), peers(peer), strict=True):
        if isinstance(own, layers.BatchNorm):
            continue
        kernel = np.asarray(own.kernel[...])
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        with torch.no_grad():
            other.weight.copy_(torch.tensor(kernel.transpose(order).copy()))
            if own.bias is not None:
                other.bias.copy_(torch.tensor(np.array(own.bias[...])))
