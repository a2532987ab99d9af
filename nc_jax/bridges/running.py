"""Class means and variances of features that arrive batch by batch, on their own device.

The same formulas run on PyTorch tensors and on JAX arrays: ``backend`` is ``torch`` or
``jax.numpy``. Nothing waits for the device. Sums are taken about a fixed centre of each
class, so that no large squares are subtracted: the relative error of a variance v is about
that of float32 times 1 + ‖m − c‖²/v for a class mean m and a centre c.
"""

import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax.bridges.rows import on_host


class RunningSums(NamedTuple):
    """Of all samples x so far, about centres c_k.

    Attributes:
        classes: [K, 1] the numbers 0…K−1.
        centres: c_k [K, p].
        counts: [K] samples of each class.
        sums: [K, p] Σ (x − c_k).
        squares: [K] Σ ‖x − c_k‖².
    """

    classes: Any
    centres: Any
    counts: Any
    sums: Any
    squares: Any


def no_sums(features: Any, num_classes: int, centres: np.ndarray | None) -> RunningSums:
    """Of no sample, in float32 on the device of a first batch.

    Args:
        features: the batch [..., p].
        num_classes: K.
        centres: [K, p]; None takes the mean of the batch for every class.
    """
    backend = backend_of(features)
    features = _rows(backend, jnp.asarray(features) if backend is jnp else features.detach())
    place, width = features.device, features.shape[1]
    zeros = backend.zeros((num_classes, width), dtype=backend.float32, device=place)
    if centres is None:
        centres = zeros + features.mean(0)
    else:
        centres = backend.asarray(centres, dtype=backend.float32, device=place)
    classes = backend.arange(num_classes, device=place)[:, None]
    return RunningSums(classes, centres, zeros[:, 0], zeros, zeros[:, 0])


def with_batch(total: RunningSums, features: Any, labels: Any) -> RunningSums:
    """Sums with one more batch [..., p] and [...]; labels of no class are left out."""
    backend = backend_of(features)
    if backend is jnp:
        return _jitted(total, jnp.asarray(features), jnp.asarray(labels))
    with backend.no_grad(), backend.autocast(features.device.type, enabled=False):
        return _added(backend, total, features.detach(), labels.to(features.device))


def fetched(total: RunningSums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts [K], means [K, p] and variances [K] in float64; NaN for a class without samples."""
    centres, counts, sums, squares = (on_host(part).astype(np.float64) for part in total[1:])
    seen = np.where(counts > 0, counts, np.nan)
    apart = sums / seen[:, None]
    return counts, centres + apart, np.maximum(squares / seen - np.sum(apart**2, axis=1), 0)


def backend_of(features: Any) -> Any:
    """PyTorch for its tensors, ``jax.numpy`` for anything else."""
    return sys.modules["torch"] if hasattr(features, "detach") else jnp


def _rows(backend: Any, features: Any) -> Any:
    return backend.asarray(features, dtype=backend.float32).reshape((-1, features.shape[-1]))


def _added(backend: Any, total: RunningSums, features: Any, labels: Any) -> RunningSums:
    labels = backend.asarray(labels, dtype=total.classes.dtype).reshape((-1,))
    # One row a class: products with it sum over the samples of the class.
    member = backend.asarray(total.classes == labels, dtype=backend.float32)
    centred = _rows(backend, features) - member.T @ total.centres
    return total._replace(
        counts=total.counts + member.sum(1),
        sums=total.sums + member @ centred,
        squares=total.squares + member @ backend.linalg.vecdot(centred, centred),
    )


@jax.jit
def _jitted(total: RunningSums, features: Any, labels: Any) -> RunningSums:
    with jax.default_matmul_precision("highest"):
        return _added(jnp, total, features, labels)
