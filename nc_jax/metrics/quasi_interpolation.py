"""Distance of a network under square loss from symmetric quasi-interpolation.

Rangamani, Banburski-Fahey (2022): outputs 1 − ε for the correct class and ε/(C − 1) for the
others. At a stationary point of (1/NC) Σ ½‖y − f‖² + (λ/2) Σ_l ‖W_l‖² exactly

    λ w_c = (1/NC) Σ_i (y_i − f_i)_c h_i,

and under the symmetry, which needs an unregularised bias or centred targets,
w_c = ε/(λ(C − 1)) (μ_c − μ_G), ‖w_c‖² = (ε − C ε²/(C − 1))/(C λ), and the cosines are
−1/(C − 1).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import cosines, gram
from nc_jax.metrics.moments import checked
from nc_jax.metrics.summary import LastLayer


class QuasiInterpolation(NamedTuple):
    """Numbers [] of one last layer.

    Attributes:
        epsilon: ε, the mean over samples of 1 − f_y, with targets that are not centred.
        asymmetry: root mean square of the outputs about 1 − ε and ε/(C − 1).
        loss: (1/NC) Σ ½‖y − f‖².
        stationarity: ‖λW − (1/NC) Σ (y − f) hᵀ‖ / ‖λW‖.
        direction: ‖W − ε/(λ(C − 1)) (M − μ_G)‖ / ‖W‖.
        norm: mean of ‖w_c‖² over its value at the symmetry, minus one.
        cosine: mean over pairs of the cosine of two classifiers.
        simplex: mean over pairs of |cosine + 1/(C − 1)|.
        orthogonality: mean over pairs of |cosine|.
    """

    epsilon: Array
    asymmetry: Array
    loss: Array
    stationarity: Array
    direction: Array
    norm: Array
    cosine: Array
    simplex: Array
    orthogonality: Array


def quasi_interpolation(
    layer: LastLayer, weight_decay: float, centred: bool = False
) -> QuasiInterpolation:
    """Measures a last layer with balanced classes.

    Args:
        layer: features [NC, p], labels, classifiers [C, p] and bias or None.
        weight_decay: λ ≥ 0; at 0 the two measures relative to it are infinite or NaN.
        centred: whether the targets were e_y − 1/C.

    Raises:
        TypeError, ValueError: naming the invalid argument; classes of different sizes.
    """
    classifiers = jnp.asarray(layer.classifiers)
    size = classifiers.shape[0]
    features, labels = checked(layer.sample_features, layer.labels, size)
    features, labels = jnp.asarray(features), np.asarray(labels)
    counts = np.bincount(labels, minlength=size)
    if len(set(counts.tolist())) > 1:
        raise ValueError(f"labels must be balanced, got classes of {sorted(set(counts.tolist()))}")
    if not 0 <= weight_decay < np.inf:
        raise ValueError(f"weight_decay must be zero or positive, got {weight_decay}")
    outputs = jnp.matmul(features, classifiers.T, precision="highest")
    outputs = outputs + (0 if layer.bias is None else jnp.asarray(layer.bias))
    outputs = outputs + (1 / size if centred else 0)
    own = jnp.asarray(np.eye(size)[labels], features.dtype)
    residual = own - outputs
    epsilon = jnp.mean(jnp.sum(own * residual, axis=-1))
    symmetric = own * (1 - epsilon) + (1 - own) * epsilon / (size - 1)
    pull = jnp.matmul(residual.T, features, precision="highest") / len(labels)
    decayed = weight_decay * classifiers
    means = jnp.matmul(own.T, features, precision="highest") / int(counts[0])
    lever = epsilon / (size - 1) * (means - jnp.mean(means, axis=0))
    # The norm that the symmetry requires, times λ.
    expected = (epsilon - size / (size - 1) * epsilon**2) / size
    length = jnp.linalg.norm(decayed)
    angles = cosines(gram(classifiers))[~np.eye(size, dtype=bool)]
    return QuasiInterpolation(
        epsilon,
        jnp.sqrt(jnp.mean((outputs - symmetric) ** 2)),
        0.5 * jnp.mean(jnp.sum(residual**2, axis=-1)),
        jnp.linalg.norm(decayed - pull) / length,
        jnp.linalg.norm(decayed - lever) / length,
        weight_decay * jnp.mean(jnp.sum(classifiers**2, axis=-1)) / expected - 1,
        jnp.mean(angles),
        jnp.mean(jnp.abs(angles + 1 / (size - 1))),
        jnp.mean(jnp.abs(angles)),
    )
