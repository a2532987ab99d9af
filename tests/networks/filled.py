"""Networks with weights from NumPy: drawing them in JAX compiles a program for every shape."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def filled(build, seed=0):
    """Graph, parameters and statistics of ``build()`` with kernels drawn by fan-in, norms fresh."""
    rng = np.random.default_rng(seed)
    graph, *states = nnx.split(nnx.eval_shape(build), nnx.Param, nnx.BatchStat)

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        if "scale" in name or "variance" in name:
            return jnp.ones(leaf.shape, leaf.dtype)
        if "offset" in name or "mean" in name:
            return jnp.zeros(leaf.shape, leaf.dtype)
        fan_in = np.prod(leaf.shape[:-1], initial=4)
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(fan_in), leaf.dtype)

    return graph, *(jax.tree_util.tree_map_with_path(fill, state) for state in states)
