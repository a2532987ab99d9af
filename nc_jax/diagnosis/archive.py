"""Features of a network in a NumPy archive (.npz), read a few rows at a time.

The file may be far larger than memory: rows are taken from the archive as they are
needed, whether it is compressed or not. Pickled objects are refused.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

# Bytes of the rows that are in memory at a time.
BATCH = 2**26


class FeatureArchive:
    """Features [N, p], labels [N], and perhaps classifiers [K, p] and bias [K].

    Attributes:
        path: of the file.
        labels: [N] integers 0…K−1.
        names: [K] the labels as they stand in the file, in order.
        shape: (N, p).
        classifiers: [K, p] float32, or None.
        bias: [K] float32, or None.
    """

    def __init__(self, path: Path):
        """Reads all but the features.

        Args:
            path: of a file by ``numpy.savez`` with ``features``, ``labels`` and perhaps
                ``classifiers`` (also ``weight``) and ``bias``.

        Raises:
            OSError, ValueError: naming the file and what is wrong with it.
        """
        self.path = path
        try:
            with zipfile.ZipFile(path) as file:
                self._arrays = {name.removesuffix(".npy") for name in file.namelist()}
        except FileNotFoundError:
            raise FileNotFoundError(f"no file {path}") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a whole .npz archive: {error}") from None
        for name in ("features", "labels"):
            if name not in self._arrays:
                raise ValueError(f"{path} has no array '{name}'; it has {sorted(self._arrays)}")
        with self._open("features") as file:
            shape, dtype = self._header(file, "features")
        if len(shape) != 2 or 0 in shape or dtype.kind not in "fiu":
            raise ValueError(f"features must be numbers [N, p], got {dtype} of shape {shape}")
        self.shape: tuple[int, int] = shape[0], shape[1]
        self.names, self.labels = self._read_labels()
        name = "classifiers" if "classifiers" in self._arrays else "weight"
        self.classifiers = self._small(name, (len(self.names), shape[1]))
        self.bias = self._small("bias", (len(self.names),))

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows [n, p], float32, and their labels [n].

        Raises:
            ValueError: the file is truncated or altered, or a row is not finite.
        """
        count, width = self.shape
        rows = max(1, BATCH // (4 * width))
        with self._open("features") as file:
            _, dtype = self._header(file, "features")
            for first in range(0, count, rows):
                size = min(rows, count - first)
                part = self._rows(file, size, width, dtype)
                finite = np.isfinite(part).all(axis=1)
                if not finite.all():
                    row = first + int(np.argmin(finite))
                    raise ValueError(f"features must be finite: row {row} of {self.path} is not")
                yield part, self.labels[first : first + size]

    def _rows(self, file: IO[bytes], size: int, width: int, dtype: np.dtype) -> np.ndarray:
        raw = self._bytes(file, size * width * dtype.itemsize, "features")
        with np.errstate(over="ignore"):
            return np.frombuffer(raw, dtype).reshape(size, width).astype(np.float32)

    def _bytes(self, file: IO[bytes], wanted: int, name: str) -> bytes:
        try:
            raw = file.read(wanted)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise ValueError(f"array '{name}' of {self.path} is damaged: {error}") from None
        if len(raw) < wanted:
            raise ValueError(f"array '{name}' of {self.path} is truncated")
        return raw

    def _open(self, name: str) -> Any:
        """The bytes of an array; both handles close together."""
        return _Member(self.path, f"{name}.npy")

    def _header(self, file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
        try:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, by_columns, dtype = read(file)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"array '{name}' of {self.path} is damaged: {error}") from None
        if dtype.hasobject:
            raise ValueError(f"array '{name}' of {self.path} holds pickled objects")
        if by_columns and len(shape) > 1:
            raise ValueError(f"'{name}' of {self.path} must be stored by rows (C order)")
        return shape, dtype

    def _whole(self, name: str) -> np.ndarray:
        """A small array."""
        with self._open(name) as file:
            shape, dtype = self._header(file, name)
            raw = self._bytes(file, math.prod(shape) * dtype.itemsize, name)
        return np.frombuffer(raw, dtype).reshape(shape)

    def _read_labels(self) -> tuple[np.ndarray, np.ndarray]:
        labels = self._whole("labels")
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

    def _small(self, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if name not in self._arrays:
            return None
        values = self._whole(name)
        if values.dtype.kind not in "fiu" or values.shape != shape:
            raise ValueError(
                f"{name} must be numbers of shape {shape}, one row for each of the "
                f"{len(self.names)} labels in order, got {values.dtype} of shape {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        return values.astype(np.float32)


class _Member:
    """One member of an archive as a context."""

    def __init__(self, path: Path, name: str):
        self._path, self._name = path, name

    def __enter__(self) -> IO[bytes]:
        self._archive = zipfile.ZipFile(self._path)
        self._file = self._archive.open(self._name)
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._archive.close()
