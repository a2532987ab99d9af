"""What is measured of features and classifiers, in two passes over the samples."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np

from nc_jax import metrics
from nc_jax.checks import require_members
from nc_jax.diagnosis.passes import measure_samples
from nc_jax.geometry import cosines, gram

# Number of passes over the samples.
PASSES = 2


class FeatureSource(Protocol):
    """Where features come from: a file, or a network that is run on its data."""

    @property
    def names(self) -> np.ndarray:
        """The names of the classes [K]."""
        ...

    @property
    def classifiers(self) -> np.ndarray | None:
        """W [K, p]; None if it is not known."""
        ...

    @property
    def bias(self) -> np.ndarray | None:
        """The bias of the last layer [K]; None if there is none."""
        ...

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features [n, p], float32, and labels [n], 0…K−1: the same samples at each call."""
        ...


class Measured(NamedTuple):
    """What is measured of a last layer.

    Attributes:
        counts: [K] samples of each class.
        collapse: NC1–NC4 and separation by name; measures that need classifiers are NaN if
            there are none.
        feature_energy: E_H, the mean over classes of the mean squared distance of their
            features from the mean of the class means. This centre makes E_H smallest; a
            common offset of all features is not part of the geometry.
        weight_energy: E_W = (1/K) Σ‖w_k‖²; NaN without classifiers.
        accuracy: [K] share of the samples of each class that are classified correctly, by the
            classifiers or, without them, by the nearest class mean.
        cosines: [K, K] cosines of the classifiers or, without them, of the centred class means.
        norms: [K] lengths of the same vectors, relative to the longest.
        mean_norms: [K] lengths of the centred class means, relative to the longest.
        least: the smallest number in the features; zero or more after a ReLU.
        width: p, the dimension of the features.
    """

    counts: np.ndarray
    collapse: dict[str, float]
    feature_energy: float
    weight_energy: float
    accuracy: np.ndarray
    cosines: np.ndarray
    norms: np.ndarray
    mean_norms: np.ndarray
    least: float
    width: int


def measure_archive(
    archive: FeatureSource, watch: Callable[[int], None] = lambda rows: None
) -> Measured:
    """Neural collapse and the Layer-Peeled Model's budgets, in O(K p + p²) memory.

    Args:
        archive: features and labels, and optionally classifiers.
        watch: called with the rows of each batch; there are PASSES passes.

    Raises:
        TypeError: not a source of features.
        ValueError: features that are not finite, or a damaged file.
    """
    members, expected = (
        ("names", "classifiers", "bias", "batches"),
        "features such as a FeatureArchive",
    )
    require_members("source", archive, members, expected)

    def batches():
        for rows, labels in archive.batches():
            watch(len(rows))
            yield rows, labels

    size, known = len(archive.names), archive.classifiers is not None
    moments, judged = measure_samples(batches, size, archive.classifiers, archive.bias)
    counts, means = np.asarray(moments.counts), np.asarray(moments.means, np.float64)
    centred = means - means.mean(axis=0)
    spread = np.sum(centred**2, axis=1) + np.asarray(moments.variances, np.float64)
    vectors = archive.classifiers if known else centred
    given = jnp.asarray(vectors, moments.means.dtype)
    found = metrics.metrics_of_moments(moments, given)._asdict()
    collapse = {name: float(value) for name, value in found.items()}
    collapse["nc4"] = judged.differ / int(counts.sum())
    if not known:
        needed = ("nc2_etf_classifiers", "nc3_product", "nc3_difference", "nc4")
        collapse |= dict.fromkeys(needed, float("nan"))
    lengths = np.linalg.norm(np.asarray(vectors, np.float64), axis=1)
    return Measured(
        counts,
        collapse,
        float(np.mean(spread)),
        float(np.mean(lengths**2)) if known else float("nan"),
        judged.right / counts,
        np.asarray(cosines(gram(given))),
        _relative(lengths),
        _relative(np.linalg.norm(centred, axis=1)),
        judged.least,
        means.shape[1],
    )


def _relative(lengths: np.ndarray) -> np.ndarray:
    """Lengths [K] relative to the longest; zeros if all are zero."""
    return lengths / max(lengths.max(), np.finfo(float).tiny)
