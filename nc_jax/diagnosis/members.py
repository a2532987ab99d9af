"""The bytes of one member of a zip archive."""

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

# Length of the header of a member without its name and its extra field, whose lengths stand at
# the end of it.
HEADER = 30


class Bytes(Protocol):
    """A file that is open for reading."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most ``size``."""
        ...

    def readinto(self, buffer: Any, /) -> int | None:
        """Fills the buffer as far as there are bytes, and returns their number."""
        ...


class Member:
    """One member of an archive as a context; all handles are closed together."""

    def __init__(self, path: Path, name: str):
        """Opens nothing."""
        self._path, self._name = path, name

    def __enter__(self) -> Bytes:
        self._archive = zipfile.ZipFile(self._path)
        self._file: Any = self._archive.open(self._name)
        info = self._archive.getinfo(self._name)
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            self._file.close()
            self._file = _StoredMember(self._path, info)
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._archive.close()


class _StoredMember(io.RawIOBase):
    """An uncompressed member, read into the caller's memory without a copy in between.

    The checksum is compared at the end, as :mod:`zipfile` does.
    """

    def __init__(self, path: Path, info: zipfile.ZipInfo):
        self._file = path.open("rb", buffering=0)
        self._file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", self._file.read(HEADER)[-4:])
        self._file.seek(name + extra, io.SEEK_CUR)
        self._left, self._checksum, self._info = info.file_size, 0, info

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as the member and one call of the system go."""
        view = memoryview(buffer).cast("B")[: self._left]
        count = self._file.readinto(view) or 0
        self._checksum = zlib.crc32(view[:count], self._checksum)
        self._left -= count
        if not self._left and self._checksum != self._info.CRC:
            raise zipfile.BadZipFile(f"bad checksum of {self._info.filename!r}")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
