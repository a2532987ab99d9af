"""Neural collapse by epochs of a training, from the batches that it runs anyway."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax import metrics
from nc_jax.bridges.optional import optional
from nc_jax.bridges.rows import on_host
from nc_jax.bridges.running import RunningSums, fetched, no_sums, with_batch
from nc_jax.checks import require_count
from nc_jax.files import write_atomically


class CollapseLogger:
    """NC1–NC3 and the budgets at the end of each epoch, by running moments.

    What is measured are the features of the training batches as they pass: with
    augmentation, dropout and batch statistics as in training, and while the weights move, so
    that a row mixes the features of all weights of the epoch. Beside frozen weights the means
    lag by about half an epoch and the movement counts as variance within classes: NC1 is
    larger, most so early and at a large learning rate. The difference vanishes as the weights
    settle. :meth:`nc_jax.bridges.FeatureStream.measure` measures frozen weights; it also
    gives NC1 'pinv' and NC4, which need scatter matrices or a second pass and are left out
    here.

    PyTorch tensors are summed up by PyTorch and JAX arrays by JAX, on their device, in float32
    and without waiting for it. The cost of a batch is O(n p K): 0.1 to 0.4 ms on a processor core
    at n = 128, p = 512, K = 10.

    Attributes:
        rows: one dict an epoch: epoch, samples, left_out (rows whose label is no class),
            classes (with at least one sample), the measures by their names in
            :class:`nc_jax.metrics.CollapseMetrics`, feature_energy and weight_energy (E_H and
            E_W of :class:`nc_jax.diagnosis.Measured`), and what :meth:`end_epoch` was given.
    """

    def __init__(self, num_classes: int, every: int = 1):
        """Logs K classes.

        Args:
            num_classes: K ≥ 2.
            every: takes in one batch of so many; more than 1 for networks whose step takes less
                than ten milliseconds.

        Raises:
            TypeError, ValueError: naming the argument.
        """
        self._num_classes = require_count("num_classes", num_classes, 2)
        self._every = require_count("every", every, 1)
        self.rows: list[dict[str, float]] = []
        self._sums: RunningSums | None = None
        self._centres: np.ndarray | None = None
        self._batches = self._given = 0

    def update(self, features: Any, labels: Any) -> None:
        """Takes in a training batch.

        Args:
            features: the classifier's inputs [n, p] or [..., p]; PyTorch, JAX or NumPy.
            labels: integers of the features' shape without its last axis. Rows whose label is
                not in 0…K−1 are left out and counted.

        Raises:
            ValueError: the shapes do not fit, or the width differs from earlier batches.
        """
        shape = tuple(features.shape)
        if len(shape) < 2 or tuple(labels.shape) != shape[:-1]:
            raise ValueError(
                f"features must be [n, p] or [..., p] and labels of that shape without p, "
                f"got {shape} and {tuple(labels.shape)}"
            )
        self._batches += 1
        if (self._batches - 1) % self._every:
            return
        if self._sums is None:
            self._sums = no_sums(features, self._num_classes, self._centres)
        if self._sums.sums.shape[1] != shape[-1]:
            width = self._sums.sums.shape[1]
            raise ValueError(f"features must have {width} columns as before, got {shape}")
        self._sums = with_batch(self._sums, features, labels)
        self._given += math.prod(shape[:-1])

    def end_epoch(self, classifiers: Any = None, **columns: float) -> dict[str, float]:
        """Measures what was taken in, and begins anew.

        Args:
            classifiers: W [K, p] at the end of the epoch; None makes their measures NaN.
            columns: more numbers of the row, such as the loss.

        Returns:
            The row. Its measures are NaN where a class had no sample.

        Raises:
            ValueError: no batch since the last epoch; classifiers of another shape.
        """
        if self._sums is None:
            raise ValueError("end_epoch needs at least one update before it")
        counts, means, variances = fetched(self._sums)
        matrix = np.full(means.shape, np.nan) if classifiers is None else on_host(classifiers)
        if matrix.shape != means.shape:
            raise ValueError(f"classifiers must have the shape {means.shape}, got {matrix.shape}")
        row = {
            "epoch": len(self.rows) + 1,
            "samples": int(counts.sum()),
            "left_out": self._given - int(counts.sum()),
            "classes": int(np.count_nonzero(counts)),
        }
        row |= _measures(means - means.mean(axis=0), variances, matrix.astype(np.float64))
        self.rows.append(row | columns)
        if row["classes"] == self._num_classes:
            self._centres = means.astype(np.float32)
        self._sums, self._batches, self._given = None, 0, 0
        return self.rows[-1]

    def table(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        return optional("pandas", "pip install pandas").DataFrame(self.rows)

    def write_csv(self, path: str | Path) -> None:
        """Writes the rows, atomically: a reader never sees half a file.

        Raises:
            OSError: the file cannot be written.
        """
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(Path(path), lambda file: file.write_text(text.getvalue()))


def _measures(means: np.ndarray, variances: np.ndarray, matrix: np.ndarray) -> dict[str, float]:
    """By name, of centred class means [K, p], variances [K] and classifiers [K, p]."""
    between, within = float(np.mean(np.sum(means**2, axis=1))), float(np.mean(variances))
    found = jax.device_get(_shapes(means, variances, matrix))
    shapes = {name: float(value) for name, value in found.items()}
    quotient = within / between if between != 0 else np.inf
    energies = {
        "feature_energy": within + between,
        "weight_energy": float(np.mean(np.sum(matrix**2, axis=1))),
    }
    return {"nc1_quotient": quotient} | shapes | energies


@jax.jit
def _shapes(means: Any, variances: Any, matrix: Any) -> dict[str, Any]:
    # Nothing here asks for the scatter matrix.
    moments = metrics.ClassMoments(jnp.ones(len(means)), means, jnp.zeros((0, 0)), variances)
    return {
        "nc1_cdnv": metrics.class_distance_variance(moments),
        "nc2_etf": metrics.etf_distance(means),
        "nc2_equinorm": metrics.equinorm(means),
        "nc2_equiangularity": metrics.equiangularity(means),
        "nc2_etf_classifiers": metrics.etf_distance(matrix - jnp.mean(matrix, axis=0)),
        "nc3_product": metrics.duality_product(matrix, means),
        "nc3_difference": metrics.duality_difference(matrix, means),
    }
