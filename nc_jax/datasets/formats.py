"""Readers of the data sets' official files: IDX, and the binary versions of CIFAR and STL-10.

Nothing is unpickled; an error names the file that is incomplete.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

CIFAR_PIXELS = 3 * 32 * 32
STL_SIZE = 96


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped.

    Raises:
        ValueError: the file is incomplete or of another kind.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a complete gzip file: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    dimensions = raw[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start], ">u4"))
    if len(shape) != dimensions or len(raw) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} must hold {shape} bytes after its header, got {len(raw) - start}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def read_cifar(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of the binary version of CIFAR-10 (one label) or CIFAR-100 (coarse and fine label).

    Returns:
        Images [N, 32, 32, 3] and (fine) labels [N].

    Raises:
        ValueError: incomplete records, or a label out of range.
    """
    labels = 2 if num_classes == 100 else 1
    size = labels + CIFAR_PIXELS
    raw = np.fromfile(path, np.uint8)
    if raw.size == 0 or raw.size % size:
        raise ValueError(f"{path} must be whole records of {size} bytes, got {raw.size}")
    records = raw.reshape(-1, size)
    own = records[:, labels - 1]
    _require_labels(path, own, num_classes)
    images = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, own.astype(np.int32)


def read_stl(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split of STL-10's binary version.

    Returns:
        Images [N, 96, 96, 3] and labels [N], 0…9.

    Raises:
        ValueError: incomplete images, a label out of range, or another number of labels.
    """
    size = 3 * STL_SIZE**2
    raw, own = np.fromfile(images, np.uint8), np.fromfile(labels, np.uint8)
    if raw.size == 0 or raw.size % size:
        raise ValueError(f"{images} must be whole images of {size} bytes, got {raw.size}")
    if raw.size // size != own.size:
        raise ValueError(f"{labels} must hold {raw.size // size} labels, got {own.size}")
    if own.min() < 1:
        raise ValueError(f"{labels} must have labels 1…10, got {own.min()}")
    _require_labels(labels, own - 1, 10)
    # Each colour plane is stored column by column.
    pixels = raw.reshape(-1, 3, STL_SIZE, STL_SIZE).transpose(0, 3, 2, 1)
    return pixels, (own - 1).astype(np.int32)


def _require_labels(path: Path, labels: np.ndarray, num_classes: int) -> None:
    if labels.max(initial=0) >= num_classes:
        raise ValueError(f"{path} must have labels 0…{num_classes - 1}, got {labels.max()}")
