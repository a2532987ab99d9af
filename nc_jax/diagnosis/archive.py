"""Features of a network in a NumPy archive (.npz), read a few rows at a time.

The file may be far larger than memory: rows are taken from the archive as they are
needed, whether it is compressed or not. Pickled objects are refused.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from nc_jax.diagnosis.arrays import ArrayFile
from nc_jax.diagnosis.names import OPTION, checked_names
from nc_jax.diagnosis.reading import read_ahead

# Bytes of the rows that are in memory at a time.
BATCH = 2**26


class FeatureArchive(ArrayFile):
    """Features [N, p], labels [N], and optionally classifiers [K, p] and bias [K].

    Attributes:
        path: path of the file.
        labels: [N] integers 0…K−1.
        names: [K] names of the classes, in the order of the labels: the given ones, else those
            of the file, else the labels of the file themselves.
        shape: (N, p).
        classifiers: [K, p] float32, or None.
        bias: [K] float32, or None.
    """

    def __init__(self, path: Path, class_names: list[str] | None = None):
        """Reads everything except the features.

        Args:
            path: path of a file written by ``numpy.savez`` with ``features``, ``labels`` and
                optionally ``classifiers`` (or ``weight``), ``bias`` and ``names``.
            class_names: one name for each class, in the order of the labels; they replace the
                names in the file.

        Raises:
            OSError, ValueError: naming the file and what is wrong with it.
        """
        super().__init__(Path(path))
        self.require("features", "labels")
        with self.open("features") as file:
            shape, dtype = self.header(file, "features")
        if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu":
            raise ValueError(f"features must be numbers [N, p], got {dtype} of shape {shape}")
        self.shape: tuple[int, int] = shape[0], shape[1]
        found, self.labels = self._read_labels()
        self.names = self._class_names(found, class_names)
        name = "classifiers" if "classifiers" in self.arrays else "weight"
        self.classifiers = self._small(name, (len(self.names), shape[1]))
        self.bias = self._small("bias", (len(self.names),))

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows [n, p], float32, and their labels [n].

        The next rows are read while the caller works on the current ones.

        Raises:
            ValueError: the file is truncated or corrupted, or a row is not finite.
        """
        return read_ahead(self._parts())

    def _parts(self) -> Generator[tuple[np.ndarray, np.ndarray]]:
        count, width = self.shape
        rows = max(1, BATCH // (4 * width))
        with self.open("features") as file:
            _, dtype = self.header(file, "features")
            for first in range(0, count, rows):
                size = min(rows, count - first)
                part = _single(self.block(file, "features", (size, width), dtype))
                finite = np.isfinite(part).all(axis=1)
                if not finite.all():
                    row = first + int(np.argmin(finite))
                    raise ValueError(f"features must be finite: row {row} of {self.path} is not")
                yield part, self.labels[first : first + size]

    def _read_labels(self) -> tuple[np.ndarray, np.ndarray]:
        labels = self.whole("labels")
        if labels.shape != self.shape[:1] or labels.dtype.kind not in "iuf":
            raise ValueError(
                f"labels must be {self.shape[0]} integers, one for each row of features, "
                f"got {labels.dtype} of shape {labels.shape}"
            )
        if not (np.isfinite(labels) & (labels == np.round(labels))).all():
            raise ValueError("labels must be whole numbers")
        names, numbers = np.unique(labels.astype(np.int64), return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"labels must name at least two classes, got {names.tolist()}")
        return names, numbers.reshape(-1).astype(np.int32)

    def _class_names(self, found: np.ndarray, given: list[str] | None) -> np.ndarray:
        if given is not None:
            return checked_names(given, len(found), OPTION)
        if "names" not in self.arrays:
            return found
        names = self.texts("names", self.whole("names"))
        return checked_names(
            [str(name) for name in names.reshape(-1)], len(found), f"names of {self.path}"
        )

    def _small(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if name not in self.arrays:
            return None
        values = self.whole(name)
        if values.dtype.kind not in "fiu" or values.shape != shape:
            raise ValueError(
                f"{name} must be numbers of shape {shape}, one row for each of the "
                f"{len(self.names)} labels in order, got {values.dtype} of shape {values.shape}"
            )
        return self.finite(name, values)


def _single(rows: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return rows.astype(np.float32, copy=False)
