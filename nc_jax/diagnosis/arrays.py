"""Arrays of a NumPy archive (.npz), each read when it is needed; errors name the array.

Pickled objects and files that are truncated or corrupted are refused.
"""

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from nc_jax.diagnosis.members import Bytes, Member

# Deflate makes data smaller by at most this factor.
RATIO = 1032


class ArrayFile:
    """A .npz archive.

    Attributes:
        path: path of the file.
        arrays: names of the arrays in it.
    """

    def __init__(self, path: Path):
        """Reads only the names.

        Raises:
            OSError, ValueError: naming the file and what is wrong with it.
        """
        self.path = path
        try:
            with zipfile.ZipFile(path) as file:
                members = file.infolist()
        except FileNotFoundError:
            raise FileNotFoundError(f"no file {path}") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not a whole .npz archive: {error}") from None
        self._sizes = {one.filename.removesuffix(".npy"): _size(one) for one in members}
        self.arrays = set(self._sizes)

    def require(self, *names: str) -> None:
        """Raises ValueError unless the archive has arrays of these names."""
        for name in names:
            if name not in self.arrays:
                raise ValueError(f"{self.path} has no array '{name}'; it has {sorted(self.arrays)}")

    def open(self, name: str) -> Member:
        """The bytes of an array, as a context manager."""
        return Member(self.path, f"{name}.npy")

    def header(self, file: Bytes, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type of an array that has just been opened."""
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

    def block(self, file: Bytes, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The next numbers of an opened array, as many as an array of this shape has."""
        wanted = math.prod(shape) * dtype.itemsize
        # Checked before memory is allocated, because a damaged header may contain any shape.
        room = min(wanted, self._sizes[name])
        raw, filled = np.empty(room, np.uint8), 0
        try:
            while filled < room and (count := file.readinto(raw[filled:])):
                filled += count
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise ValueError(f"array '{name}' of {self.path} is damaged: {error}") from None
        if filled < wanted:
            raise ValueError(f"array '{name}' of {self.path} is truncated")
        return raw.view(dtype).reshape(shape) if wanted else np.empty(shape, dtype)

    def whole(self, name: str) -> np.ndarray:
        """An array that fits in memory."""
        with self.open(name) as file:
            return self.block(file, name, *self.header(file, name))

    def texts(self, name: str, values: np.ndarray) -> np.ndarray:
        """The same texts or integers; bytes are decoded as UTF-8.

        Raises:
            ValueError: the values are neither texts nor integers.
        """
        if values.dtype.kind not in "USiu":
            raise ValueError(f"{name} must be texts or integers, got {values.dtype}")
        if values.dtype.kind == "S":
            return np.array([value.decode("utf-8", "replace") for value in values.tolist()])
        return values

    def finite(self, name: str, values: np.ndarray) -> np.ndarray:
        """The same numbers as float32; ValueError if one of them is then NaN or infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            single = values.astype(np.float32, copy=False)
        if not np.isfinite(single).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        return single


def _size(member: zipfile.ZipInfo) -> int:
    """Size of a member in bytes, at most what its compressed data can expand to."""
    most = RATIO * member.compress_size
    return (
        min(member.file_size, most)
        if member.compress_type == zipfile.ZIP_DEFLATED
        else member.file_size
    )
