"""A diagnosis of five classes with plain made-up numbers, so that reports need no solver."""

import numpy as np

from nc_jax.diagnosis import Diagnosis, Measured, Predicted, Recommended
from nc_jax.diagnosis.measures import COLLAPSE

NAMES = ["dog", "cat, or 'kitten'", "<script>alert(1)</script>", "a|b*c*", "été"]


def made_diagnosis(names=NAMES, **changes):
    """Classes 2 and 3 have merged, class 4 is close to them."""
    cosines = np.full((5, 5), -0.25)
    cosines[2:, 2:] = 0.876
    cosines[2, 3] = cosines[3, 2] = 0.9725
    np.fill_diagonal(cosines, 1)
    predicted = np.where(cosines > 0.5, 1.0, -0.2)
    counts = np.array([3000, 2000, 40, 30, 20])
    collapse = {name: 0.01 * place + 0.1 for place, (name, _, _) in enumerate(COLLAPSE)}
    lengths = np.array([1, 0.9, 0.25, 0.2, 0.15])
    right = np.array([1, 0.99, 0.5, 0.25, 0.125])
    seen = Measured(counts, collapse, 4.0, 1.0, right, cosines, lengths, lengths**2, 0.0, 16)
    path = np.array([[1, -0.25], [10, 0.2], [20, 1.0], [1500, 1.0]])
    model = Predicted(
        counts.astype(float), 150.0, 2, [[2, 3, 4]], [], predicted, 20.0, path, 3000 / counts, 1e-13
    )
    weights = Recommended("class-weights", 1.0, 0.5, True, 0.4, 0.0, 3000 / counts)
    offsets = np.log(counts / 3000)
    other = Recommended("logit-adjustment", 1.5, np.nan, False, 0.4, 0.3, offsets)
    made = Diagnosis(
        np.array(names),
        True,
        seen,
        np.array([1, 0, 3, 2, 2]),
        np.array([-0.25, -0.25, 0.9725, 0.9725, 0.876]),
        np.array(["apart", "apart", "merged", "merged", "close"]),
        [[2, 3]],
        model,
        None,
        [weights, other],
    )
    return made._replace(**changes)
