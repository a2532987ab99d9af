"""Class means and variances of features that arrive batch by batch, on their own device.

The same formulas run on PyTorch tensors and on JAX arrays: ``backend`` is ``torch`` or
``jax.numpy``. Nothing waits for the device.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax.bridges.rows import on_host


class RunningMoments(NamedTuple):
    """Of all samples so far.

    Attributes:
        classes: [K, 1] the numbers 0…K−1.
        counts: [K] samples of each class.
        means: [K, p].
        squares: [K] sums of squared distances to the class means.
    """

    classes: Any
    counts: Any
    means: Any
    squares: Any


def backend_of(features: Any) -> Any:
    """PyTorch for its tensors, ``jax.numpy`` for anything else."""
    return sys.modules["torch"] if hasattr(features, "detach") else jnp


def no_moments(features: Any, num_classes: int) -> RunningMoments:
    """Of no sample, on the device of the features [..., p], in float32."""
    backend = backend_of(features)
    features = jnp.asarray(features) if backend is jnp else features
    place = features.device
    return RunningMoments(
        backend.arange(num_classes, device=place)[:, None],
        backend.zeros(num_classes, dtype=backend.float32, device=place),
        backend.zeros((num_classes, features.shape[-1]), dtype=backend.float32, device=place),
        backend.zeros(num_classes, dtype=backend.float32, device=place),
    )


def with_batch(total: RunningMoments, features: Any, labels: Any) -> RunningMoments:
    """Moments with one more batch [..., p] and [...]; labels of no class are left out.

    The batch's moments are taken about its own means and merged (Chan, Golub, LeVeque 1983).
    """
    backend = backend_of(features)
    if backend is jnp:
        return _jitted(total, jnp.asarray(features), jnp.asarray(labels))
    with backend.no_grad(), backend.autocast(features.device.type, enabled=False):
        return _absorbed(backend, total, features, labels.to(features.device))


def _absorbed(backend: Any, total: RunningMoments, features: Any, labels: Any) -> RunningMoments:
    features = backend.asarray(features, dtype=backend.float32)
    features = features.reshape((-1, features.shape[-1]))
    labels = backend.asarray(labels, dtype=total.classes.dtype).reshape((-1,))
    # One row a class: products with it sum over the samples of the class.
    member = backend.asarray(total.classes == labels, dtype=backend.float32)
    counts = member.sum(1)
    means = member @ features / counts.clip(min=1)[:, None]
    inside = member @ ((features - member.T @ means) ** 2).sum(1)
    both = total.counts + counts
    share = counts / both.clip(min=1)
    apart = means - total.means
    return RunningMoments(
        total.classes,
        both,
        total.means + share[:, None] * apart,
        total.squares + inside + total.counts * share * (apart**2).sum(1),
    )


@jax.jit
def _jitted(total: RunningMoments, features: Any, labels: Any) -> RunningMoments:
    with jax.default_matmul_precision("highest"):
        return _absorbed(jnp, total, features, labels)


def fetched(moments: RunningMoments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts [K], means [K, p] and variances [K] in float64; NaN for a class without samples."""
    counts, means, squares = (on_host(part).astype(np.float64) for part in moments[1:])
    seen = np.where(counts > 0, counts, np.nan)
    return counts, means + 0 * seen[:, None], squares / seen
