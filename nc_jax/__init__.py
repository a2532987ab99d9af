"""nc_jax: the geometry of a network's last layers, predicted with certificates."""

from nc_jax import metrics, theory
from nc_jax.geometry import (
    ClassSizes,
    class_sizes,
    cosines,
    gram,
    long_tailed,
    simplex_etf,
    two_groups,
)
from nc_jax.losses import (
    CrossEntropy,
    Loss,
    MeanSquaredError,
    PowerSoftmax,
    SoftmaxBased,
    SupervisedContrastive,
)
from nc_jax.solvers import (
    FactoredMultiStart,
    FactoredQuasiNewton,
    FactoredSolution,
    Phase,
    ReducedInteriorPoint,
    Solution,
    Status,
    TwoGroupRoot,
    phase,
    phase_codes,
    solve,
    solve_batch,
)
from nc_jax.surrogates import DeepLayerPeeled, LayerPeeled, UnconstrainedFeatures

__version__ = "0.1.0"

__all__ = [
    "ClassSizes",
    "CrossEntropy",
    "DeepLayerPeeled",
    "FactoredMultiStart",
    "FactoredQuasiNewton",
    "FactoredSolution",
    "LayerPeeled",
    "Loss",
    "MeanSquaredError",
    "Phase",
    "PowerSoftmax",
    "ReducedInteriorPoint",
    "SoftmaxBased",
    "Solution",
    "Status",
    "SupervisedContrastive",
    "TwoGroupRoot",
    "UnconstrainedFeatures",
    "class_sizes",
    "cosines",
    "gram",
    "long_tailed",
    "metrics",
    "phase",
    "phase_codes",
    "simplex_etf",
    "solve",
    "solve_batch",
    "theory",
    "two_groups",
]
