"""The last layer that a network is expected to reach, from class sizes and weight decay alone.

If the features are outputs of a batch normalisation, the decay of its scale and offset
penalises them: λ_W = λ, λ_H = λ/(cN), λ_b = λ for c normalised branches that are added, with
nonnegative features after a ReLU (nc_jax/prediction/README.md has the derivation).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from nc_jax.diagnosis.predicted import grouped_sizes
from nc_jax.geometry import cosines, gram
from nc_jax.solvers import phase, solve
from nc_jax.surrogates import UnconstrainedFeatures

# With more classes the sign of the features is not modelled: it needs K·2K numbers each way.
MOST_NONNEGATIVE = 40


class Settled(NamedTuple):
    """The prediction of the unconstrained features model.

    Attributes:
        cosines: [K, K] of the classifiers; NaN if one of the two is zero.
        norms: [K] lengths of the classifiers.
        phase: separated, collapsed, vanished or unresolved.
        gap: upper bound on the distance of the objective from its optimum.
        nonnegative: whether the features were constrained to be nonnegative.
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
    """Solves the unconstrained features model at the class sizes of a data set and a weight decay.

    Args:
        counts: [K] samples of each class, positive.
        weight_decay: λ > 0, as it enters the gradient, on all parameters.
        nonnegative: whether the features are outputs of a ReLU; with more than 40 classes
            the model leaves this out.
        branches: c ≥ 1, the number of normalised outputs that are added to give the features.
        biased: whether the last layer has a bias, to which the weight decay applies too.

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
