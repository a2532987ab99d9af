"""Features of PyTorch and Flax networks as streams, for a diagnosis.

``from_torch``, ``from_nnx``, ``from_linen`` and ``from_callable`` return a
:class:`nc_jax.bridges.FeatureStream`, which can be saved, measured or diagnosed.
``CollapseLogger`` measures neural collapse during a training. PyTorch and Flax are
imported only when they are needed.
"""

from nc_jax.bridges.fitted import fit_head
from nc_jax.bridges.flax import from_linen, from_nnx
from nc_jax.bridges.function import from_callable
from nc_jax.bridges.logger import CollapseLogger
from nc_jax.bridges.pytorch import from_torch
from nc_jax.bridges.stream import FeatureStream
from nc_jax.bridges.watch import TorchWatch

__all__ = [
    "CollapseLogger",
    "FeatureStream",
    "TorchWatch",
    "fit_head",
    "from_callable",
    "from_linen",
    "from_nnx",
    "from_torch",
]
