"""Image data sets from files in their official formats, and Gaussian classes.

MNIST and FashionMNIST are read from their four IDX files, CIFAR-10 from the binary
version's batches; nothing is unpickled. The 8×8 digits come with scikit-learn and
need no file. Files are looked for in the folder given, then in ``$NC_JAX_DATA``.
"""

import gzip
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nc_jax.checks import require_count

# Where each data set's files may lie below a data folder, the first that exists.
FOLDERS = {
    "mnist": ("mnist", "MNIST/raw"),
    "fashion_mnist": ("fashion_mnist", "FashionMNIST/raw"),
    "cifar10": ("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
}
DATA_SETS = ("digits", *FOLDERS)
IDX_NAMES = {"train": "train", "test": "t10k"}
CIFAR_NAMES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR_RECORD = 1 + 3 * 32 * 32


class ImageData(NamedTuple):
    """Images of one split.

    Attributes:
        images: [N, height, width, channels] unsigned bytes.
        labels: [N] integers 0…9.
    """

    images: np.ndarray
    labels: np.ndarray


def load_images(name: str, split: str = "train", data_dir: Any = None) -> ImageData:
    """Reads a data set.

    Args:
        name: one of :data:`DATA_SETS`.
        split: 'train' or 'test'; the digits' last 360 are their test split.
        data_dir: folder that holds the data sets' folders.

    Raises:
        ValueError: an unknown name or split, a file that is truncated or no such file.
        FileNotFoundError: no such data; says which files belong where.
        ImportError: the digits need scikit-learn.
    """
    if name not in DATA_SETS:
        raise ValueError(f"data must be one of {', '.join(DATA_SETS)}, got {name!r}")
    if split not in IDX_NAMES:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if name == "digits":
        return _digits(split)
    if name == "cifar10":
        names = CIFAR_NAMES[split]
        folder = _folder(name, names, data_dir)
        parts = [_read_cifar(folder / file) for file in names]
        return ImageData(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    names = tuple(f"{IDX_NAMES[split]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    folder = _folder(name, names, data_dir)
    images, labels = (_read_idx(folder / file) for file in names)
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise ValueError(
            f"{folder} must hold images [N, h, w] and N labels 0…9, "
            f"got shapes {images.shape} and {labels.shape}"
        )
    return ImageData(images[..., None], labels.astype(np.int32))


def _folder(name: str, files: tuple[str, ...], data_dir: Any) -> Path:
    """The first place that holds the data set's files."""
    given = data_dir if data_dir is not None else os.environ.get("NC_JAX_DATA")
    if given is None:
        raise FileNotFoundError(
            f"{name} needs --data-dir or the variable NC_JAX_DATA: "
            f"a folder that holds {FOLDERS[name][0]}/{files[0]}"
        )
    for place in FOLDERS[name]:
        if (Path(given) / place).is_dir():
            missing = [file for file in files if not (Path(given) / place / file).is_file()]
            if missing:
                raise FileNotFoundError(f"{Path(given) / place} lacks {', '.join(missing)}")
            return Path(given) / place
    raise FileNotFoundError(f"no {name} in {given}: put {', '.join(files)} into {FOLDERS[name][0]}")


def _read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    dimensions = raw[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start], ">u4"))
    if len(shape) != dimensions or len(raw) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} must hold {shape} bytes after its header, got {len(raw) - start}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _read_cifar(path: Path) -> ImageData:
    """One batch of CIFAR-10's binary version: records of a label and three planes."""
    raw = np.fromfile(path, np.uint8)
    if raw.size == 0 or raw.size % CIFAR_RECORD:
        raise ValueError(f"{path} must be whole records of {CIFAR_RECORD} bytes, got {raw.size}")
    records = raw.reshape(-1, CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path} must have labels 0…9, got {records[:, 0].max()}")
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ImageData(images, records[:, 0].astype(np.int32))


def _digits(split: str) -> ImageData:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits need scikit-learn: pip install 'nc-jax[train]'") from error
    bunch: Any = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    chosen = slice(None, -360) if split == "train" else slice(-360, None)
    return ImageData(images[chosen], bunch.target[chosen].astype(np.int32))


def balanced_features(
    data: ImageData, num_classes: int, per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as features: the same number of images of each of the first classes.

    Args:
        data: what to choose from.
        num_classes: K from 2 to 10.
        per_class: images of a class, chosen at random without repetition.
        seed: of the choice.

    Returns:
        Features [K·n, pixels], float64, scaled to a mean square length of one, and
        labels [K·n], class 0 first.

    Raises:
        ValueError: more classes or images asked for than there are.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    per_class = require_count("per_class", per_class, 1)
    rng = np.random.default_rng(seed)
    rows = []
    for label in range(num_classes):
        own = np.flatnonzero(data.labels == label)
        if len(own) < per_class:
            raise ValueError(f"per_class must be at most {len(own)} for class {label}")
        rows.append(rng.choice(own, per_class, replace=False))
    chosen = np.concatenate(rows)
    features = data.images[chosen].reshape(len(chosen), -1).astype(np.float64)
    length = np.sqrt(np.mean(np.sum(features**2, axis=1)))
    return features / length, np.repeat(np.arange(num_classes), per_class)


def gaussian_classes(
    num_classes: int, per_class: int, dimension: int, sigma: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian classes x ~ N(μ_k, σ² I) whose means are random on the unit sphere.

    Returns:
        Features [K·n, d], float64, and labels [K·n], class 0 first.

    Raises:
        TypeError, ValueError: a count below its least, a σ that is not ≥ 0.
    """
    num_classes = require_count("num_classes", num_classes, 2)
    per_class = require_count("per_class", per_class, 1)
    dimension = require_count("dimension", dimension, 1)
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"sigma must be zero or positive and finite, got {sigma}")
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(num_classes, dimension))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    labels = np.repeat(np.arange(num_classes), per_class)
    return means[labels] + sigma * rng.normal(size=(len(labels), dimension)), labels
