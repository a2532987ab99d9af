"""What is solved: surrogate models of a network's top layers."""

from nc_jax.surrogates.layer_peeled import LayerPeeled

__all__ = ["LayerPeeled"]
