"""The public names, read by type checkers and, at run time, by nc_jax/__init__.py."""

from . import (
    geometry as geometry,
    losses as losses,
    metrics as metrics,
    solvers as solvers,
    surrogates as surrogates,
    theory as theory,
)
from .classes import (
    ClassNumbers as ClassNumbers,
)
from .geometry import (
    ClassSizes as ClassSizes,
    class_sizes as class_sizes,
    cosines as cosines,
    gram as gram,
    long_tailed as long_tailed,
    merge_sizes as merge_sizes,
    simplex_etf as simplex_etf,
    two_groups as two_groups,
)
from .losses import (
    CentredSquaredError as CentredSquaredError,
    ClassWeights as ClassWeights,
    CrossEntropy as CrossEntropy,
    Focal as Focal,
    LabelMargins as LabelMargins,
    LabelSmoothing as LabelSmoothing,
    Loss as Loss,
    MeanSquaredError as MeanSquaredError,
    PowerSoftmax as PowerSoftmax,
    SoftmaxBased as SoftmaxBased,
    SoftTargets as SoftTargets,
    SupervisedContrastive as SupervisedContrastive,
    VectorScaling as VectorScaling,
    class_temperatures as class_temperatures,
    logit_adjustment as logit_adjustment,
    size_margins as size_margins,
    size_weights as size_weights,
    vector_scaling as vector_scaling,
)
from .solvers import (
    Curvature as Curvature,
    EliminatedMultiStart as EliminatedMultiStart,
    FactoredMultiStart as FactoredMultiStart,
    FactoredQuasiNewton as FactoredQuasiNewton,
    FactoredSolution as FactoredSolution,
    GradientDescent as GradientDescent,
    LayerwiseMultiStart as LayerwiseMultiStart,
    MultilayerSolution as MultilayerSolution,
    Phase as Phase,
    ReducedInteriorPoint as ReducedInteriorPoint,
    Solution as Solution,
    SphericalCode as SphericalCode,
    Status as Status,
    Trajectory as Trajectory,
    TwoGroupRoot as TwoGroupRoot,
    least_curvature as least_curvature,
    phase as phase,
    phase_codes as phase_codes,
    solve as solve,
    solve_batch as solve_batch,
    spherical_code as spherical_code,
)
from .surrogates import (
    DeepLayerPeeled as DeepLayerPeeled,
    DeepUnconstrainedFeatures as DeepUnconstrainedFeatures,
    LayerPeeled as LayerPeeled,
    MultilayerUnconstrainedFeatures as MultilayerUnconstrainedFeatures,
    UnconstrainedFeatures as UnconstrainedFeatures,
)

__version__: str
