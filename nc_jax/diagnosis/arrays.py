"""Arrays of a NumPy archive (.npz), each read when it is wanted, errors naming it.

Pickled objects are refused; so is a file that is truncated or altered.
"""

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np


class ArrayFile:
    """A .npz archive.

    Attributes:
        path: of the file.
        arrays: the names of what is in it.
    """

    def __init__(self, path: Path):
        """Reads the names alone.

        Raises:
            OSError, ValueError: naming the file and what is wrong with it.
        """
        self.path = path
        try:
            with zipfile.ZipFile(path) as file:
                self.arrays = {name.removesuffix(".npy") for name in file.namelist()}
        except FileNotFoundError:
            raise FileNotFoundError(f"no file {path}") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a whole .npz archive: {error}") from None

    def require(self, *names: str) -> None:
        """Raises ValueError unless the archive has arrays of these names."""
        for name in names:
            if name not in self.arrays:
                raise ValueError(f"{self.path} has no array '{name}'; it has {sorted(self.arrays)}")

    def open(self, name: str) -> Any:
        """The bytes of an array, as a context; both handles close together."""
        return _Member(self.path, f"{name}.npy")

    def header(self, file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type of an array that was just opened."""
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

    def take(self, file: IO[bytes], wanted: int, name: str) -> bytes:
        """So many bytes of an opened array."""
        try:
            raw = file.read(wanted)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise ValueError(f"array '{name}' of {self.path} is damaged: {error}") from None
        if len(raw) < wanted:
            raise ValueError(f"array '{name}' of {self.path} is truncated")
        return raw

    def whole(self, name: str) -> np.ndarray:
        """An array that fits in memory, read-only."""
        with self.open(name) as file:
            shape, dtype = self.header(file, name)
            raw = self.take(file, math.prod(shape) * dtype.itemsize, name)
        return np.frombuffer(raw, dtype).reshape(shape) if raw else np.empty(shape, dtype)

    def texts(self, name: str, values: np.ndarray) -> np.ndarray:
        """The same texts or integers; bytes as UTF-8.

        Raises:
            ValueError: something else than texts or integers.
        """
        if values.dtype.kind not in "USiu":
            raise ValueError(f"{name} must be texts or integers, got {values.dtype}")
        if values.dtype.kind == "S":
            return np.array([value.decode("utf-8", "replace") for value in values.tolist()])
        return values

    def finite(self, name: str, values: np.ndarray) -> np.ndarray:
        """The same numbers, float32; ValueError if one is NaN or infinite, also as float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            single = values.astype(np.float32, copy=False)
        if not np.isfinite(single).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        return single


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
