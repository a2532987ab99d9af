"""Neural collapse by epochs of a training, from the batches that it runs anyway."""

import csv
import io
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from nc_jax.bridges.optional import optional
from nc_jax.bridges.rows import on_host
from nc_jax.bridges.running import Accumulator, accumulator, moments, next_centres
from nc_jax.bridges.shapes import collapse_shapes
from nc_jax.checks import require_count
from nc_jax.files import write_atomically


class CollapseLogger:
    """NC1 to NC3 and the budgets at the end of each epoch, from running moments.

    The features are those of the training batches as they pass: with augmentation, dropout
    and batch statistics as in training. The weights move during an epoch, so a row mixes the
    features of all weights of that epoch. Compared with frozen weights, the means lag behind
    by about half an epoch, and the movement counts as variance within classes: NC1 is larger,
    most of all early in training and at a large learning rate. The difference vanishes as the
    weights settle. :meth:`nc_jax.bridges.FeatureStream.measure` measures frozen weights. It
    also gives NC1 'pinv' and NC4, which need scatter matrices or a second pass and are
    therefore missing here.

    PyTorch sums up its tensors and JAX its arrays, on their device and in float32. The host
    waits for the device at the first batch, at the end of an epoch, and in PyTorch at every
    64th batch. The work per batch is O(n p) in PyTorch and O(n p K) in JAX: less than 0.1 ms
    on one processor core at n = 128, p = 512, K = 10. If a training step takes only a few
    milliseconds, the logger leaves out batches, so that it costs about 5 % of the time at
    most; the end of an epoch costs another millisecond.

    Attributes:
        rows: one dict per epoch: epoch, samples, left_out (rows whose label is not a class),
            classes (with at least one sample), the measures by their names in
            :class:`nc_jax.metrics.CollapseMetrics`, feature_energy and weight_energy (E_H and
            E_W of :class:`nc_jax.diagnosis.Measured`), and the columns given to
            :meth:`end_epoch`.
    """

    def __init__(self, num_classes: int, every: int | None = None):
        """Logs K classes.

        Args:
            num_classes: K ≥ 2.
            every: uses one batch out of this many; 1 uses all, whatever it costs. By default
                all batches of the first epoch are used, and afterwards as many as the logger
                can process in a small share of the training's time: all of them if a step
                takes about ten milliseconds or more. How many samples a row rests on is in
                its column ``samples``.

        Raises:
            TypeError, ValueError: naming the argument.
        """
        self._num_classes = require_count("num_classes", num_classes, 2)
        self._every = None if every is None else require_count("every", every, 1)
        self.rows: list[dict[str, float]] = []
        self._sums: Accumulator | None = None
        self._shapes: tuple[tuple[int, ...], ...] = ()
        self._rows = self._batches = self._given = self._to_skip = 0
        # Of all epochs after the first: processor time taken, and duration up to the present
        # epoch, which began at a time.
        self._taken = self._passed = self._begun = 0.0

    def update(self, features: Any, labels: Any) -> None:
        """Adds a training batch.

        Args:
            features: the classifier's inputs [n, p] or [..., p]; PyTorch, JAX or NumPy. A few
                batches of JAX arrays are kept (at most 4 MiB) until they are summed up, so do
                not donate these arrays to another program.
            labels: integers of the features' shape without its last axis. Rows whose label is
                not in 0…K−1 are left out and counted.

        Raises:
            ValueError: the shapes of a batch that is used do not fit, or its width differs from
                earlier batches.
        """
        # In a fast training this is most batches, and even a look at the clock would be felt.
        if self._to_skip > 0:
            self._to_skip -= 1
            self._batches += 1
            return
        # Most batches have the shapes of the one before, which were checked.
        if (features.shape, labels.shape) != self._shapes:
            self._check_shapes(tuple(features.shape), tuple(labels.shape))
        self._batches += 1
        if not self._is_used():
            return
        begin = time.thread_time()
        if self._sums is None:
            self._sums = accumulator(features, labels, self._num_classes)
        self._sums.add(features, labels)
        self._given += self._rows
        self._taken += time.thread_time() - begin

    def _is_used(self) -> bool:
        """Whether the present batch is used; if not, also how many after it are not either."""
        if self._every is not None:
            return (self._batches - 1) % self._every == 0
        if self._batches == 1:
            self._begun = time.perf_counter()
        # The first epoch compiles and fills caches, so it says little about the later ones.
        if self._sums is None or self._batches == 1 or not self.rows:
            return True
        since = time.perf_counter() - self._begun
        early = self._taken / self._sums.share - self._passed - since
        if early > 0:
            self._to_skip = int(early * (self._batches - 1) / max(since, 1e-9))
        return early <= 0

    def _check_shapes(self, features: tuple[int, ...], labels: tuple[int, ...]) -> None:
        if len(features) < 2 or labels != features[:-1]:
            raise ValueError(
                f"features must be [n, p] or [..., p] and labels of that shape without p, "
                f"got {features} and {labels}"
            )
        if self._shapes and features[-1] != self._shapes[0][-1]:
            width = self._shapes[0][-1]
            raise ValueError(f"features must have {width} columns as before, got {features}")
        self._shapes, self._rows = (features, labels), math.prod(labels)

    def end_epoch(self, classifiers: Any = None, **columns: float) -> dict[str, float]:
        """Measures the batches since the last epoch, and starts again.

        Args:
            classifiers: W [K, p] at the end of the epoch; None makes their measures NaN.
            columns: further numbers for the row, such as the loss.

        Returns:
            The row. Its measures are NaN where a class had no sample.

        Raises:
            ValueError: no batch since the last epoch; classifiers of another shape.
        """
        if self._sums is None or not self._batches:
            raise ValueError("end_epoch needs at least one update before it")
        begin = time.thread_time()
        counts, means, variances = moments(self._sums.total())
        matrix = np.full(means.shape, np.nan) if classifiers is None else on_host(classifiers)
        if matrix.shape != means.shape:
            raise ValueError(f"classifiers must have the shape {means.shape}, got {matrix.shape}")
        sizes = counts.tolist()
        samples = int(sum(sizes))
        row = {
            "epoch": len(self.rows) + 1,
            "samples": samples,
            "left_out": self._given - samples,
            "classes": len(sizes) - sizes.count(0),
        }
        centred = means - means.sum(axis=0) / len(means)
        row |= collapse_shapes(centred, variances, matrix.astype(np.float64))
        self.rows.append(row | columns)
        self._sums.start(next_centres(means, variances))
        self._batches = self._given = self._to_skip = 0
        if len(self.rows) == 1:
            self._taken = 0.0
        else:
            self._taken += time.thread_time() - begin
            self._passed += time.perf_counter() - self._begun
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
