"""Random Layer-Peeled Models for tests: shapes are few (each compiles), numbers many."""

import numpy as np

import nc_jax as nc

LOSSES = {"cross-entropy": nc.CrossEntropy(), "mean-squared-error": nc.MeanSquaredError()}

# Classes in each group; ungrouped, two groups, several, singles among them.
GROUPS = [(1, 1), (3, 7), (1, 9), (2, 3, 4, 1), (1,) * 6]


def random_model(seed, counts, loss, dtype=np.float64, largest_ratio=1e4, budgets=(0.05, 12)):
    """A model with log-uniform sizes and budget, classes in shuffled order."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(0, np.log(largest_ratio), len(counts)))
    # The order of classes is part of the compiled structure: shuffled, but one order.
    order = np.random.default_rng(len(counts)).permutation(sum(counts))
    membership = np.repeat(np.arange(len(counts)), counts)[order]
    budget = np.exp(rng.uniform(*np.log(budgets)))
    tilt = np.exp(rng.uniform(-1, 1))
    return nc.LayerPeeled(
        nc.ClassSizes(sizes.astype(dtype), tuple(membership.tolist())),
        weight_energy=dtype(budget * tilt),
        feature_energy=dtype(budget / tilt),
        loss=LOSSES[loss],
    )
