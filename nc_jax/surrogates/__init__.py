"""Surrogate models of a network's top layers, as immutable pytrees."""

from nc_jax.surrogates.counted import CountedLayerPeeled, CountedSizes, CountedUnconstrained
from nc_jax.surrogates.deep import DeepLayerPeeled
from nc_jax.surrogates.deep_unconstrained import DeepUnconstrainedFeatures
from nc_jax.surrogates.layer_peeled import LayerPeeled
from nc_jax.surrogates.multilayer import LayerInputs, MultilayerUnconstrainedFeatures
from nc_jax.surrogates.unconstrained import UnconstrainedFeatures

__all__ = [
    "CountedLayerPeeled",
    "CountedSizes",
    "CountedUnconstrained",
    "DeepLayerPeeled",
    "DeepUnconstrainedFeatures",
    "LayerInputs",
    "LayerPeeled",
    "MultilayerUnconstrainedFeatures",
    "UnconstrainedFeatures",
]
