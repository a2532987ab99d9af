"""What a network settles at by its class sizes and weight decay alone.

Features that leave a batch normalisation are priced by the decay of its scale and
offset: λ_W = λ, λ_H = λ/(cN), λ_b = λ for c normalised branches whose sum they are, with
features of zero or above behind a ReLU (nc_jax/prediction/README.md has the derivation).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from nc_jax.diagnosis.predicted import grouped_sizes
from nc_jax.geometry import cosines, gram
from nc_jax.solvers import phase, solve
from nc_jax.surrogates import UnconstrainedFeatures

# Classes up to which nonnegative features are solved for: K·2K numbers each way.
MOST_NONNEGATIVE = 40


class Settled(NamedTuple):
    """The model's word.

    Attributes:
        cosines: [K, K] of the classifiers, NaN where one is zero.
        norms: [K] lengths of the classifiers.
        phase: separated, collapsed, vanished or unresolved.
        gap: bound on the distance of its objective to the optimum.
        nonnegative: whether features were held at zero or above.
    """

    cosines: np.ndarray
    norms: np.ndarray
    phase: str
    gap: float
    nonnegative: bool


def predict_settled(
    counts: np.ndarray,
    weight_decay: float,
    nonnegative: bool = True,
    branches: int = 1,
    biased: bool = True,
) -> Settled:
    """The unconstrained features model at a data set's sizes and a weight decay.

    Args:
        counts: [K] samples of each class, positive.
        weight_decay: λ > 0, as it enters the gradient, on all parameters.
        nonnegative: whether the features leave a ReLU; beyond 40 classes this is left
            out of the model.
        branches: c ≥ 1, normalised outputs whose sum the features are.
        biased: whether the classifiers have a bias, decayed too.

    Raises:
        ValueError: naming the argument.
    """
    if not 0 < weight_decay < math.inf:
        raise ValueError(f"weight_decay must be positive and finite, got {weight_decay}")
    if branches < 1:
        raise ValueError(f"branches must be at least 1, got {branches}")
    sizes = grouped_sizes(np.asarray(counts, float))
    rectified = nonnegative and len(sizes) <= MOST_NONNEGATIVE
    penalty = weight_decay / (branches * sizes.sum())
    bias = weight_decay if biased else None
    model = UnconstrainedFeatures(sizes, weight_decay, penalty, bias, nonnegative=rectified)
    solution = solve(model)
    classifiers = np.asarray(solution.classifiers, float)
    norms = np.linalg.norm(classifiers, axis=1)
    angles = np.array(cosines(gram(jnp.asarray(classifiers))))
    zero = norms <= 1e-4 * norms.max()
    angles[zero] = angles[:, zero] = np.nan
    return Settled(angles, norms, str(phase(solution)), float(solution.gap), rectified)
