"""Image data sets, read from their official files; the 8×8 digits are part of scikit-learn."""

import hashlib
from typing import Any, NamedTuple

import jax
import numpy as np

from nc_jax.training.files import Source, locate
from nc_jax.training.formats import read_cifar, read_idx, read_stl

SPLITS = ("train", "test")


class ImageData(NamedTuple):
    """Images of one split.

    Attributes:
        images: [N, height, width, channels] unsigned bytes.
        labels: [N] integers 0…K−1.
    """

    images: np.ndarray
    labels: np.ndarray


class DataSet(NamedTuple):
    """Properties of a data set.

    Attributes:
        num_classes: K.
        mean: mean of the training pixels in each channel, as a share of 255.
        deviation: standard deviation of the training pixels in each channel, likewise.
        source: its files; None for the digits.
    """

    num_classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    source: Source | None


def _idx_source(place: str, folder: str, address: str, checksums: tuple[str, ...]) -> Source:
    kinds = ("images-idx3", "labels-idx1")
    files = tuple(f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in kinds)
    return Source((place, folder), files, address, dict(zip(files, checksums, strict=True)))


KRIZ = "https://www.cs.toronto.edu/~kriz"
CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")

DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet(10, (0.3054,), (0.3753,), None),
    "mnist": DataSet(
        10,
        (0.1307,),
        (0.3081,),
        _idx_source(
            "mnist",
            "MNIST/raw",
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    "fashion_mnist": DataSet(
        10,
        (0.2860,),
        (0.3530,),
        _idx_source(
            "fashion_mnist",
            "FashionMNIST/raw",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    "cifar10": DataSet(
        10,
        (0.4914, 0.4822, 0.4465),
        (0.247, 0.243, 0.261),
        Source(
            ("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
            CIFAR10_FILES,
            KRIZ,
            {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        ),
    ),
    "cifar100": DataSet(
        100,
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        Source(
            ("cifar-100-binary", "cifar100/cifar-100-binary"),
            ("train.bin", "test.bin"),
            KRIZ,
            {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        ),
    ),
    "stl10": DataSet(
        10,
        (0.4467, 0.4398, 0.4066),
        (0.2603, 0.2566, 0.2713),
        Source(
            ("stl10_binary", "stl10/stl10_binary"),
            ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
            "http://ai.stanford.edu/~acoates/stl10",
            {"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"},
        ),
    ),
}


def load_images(name: str, split: str = "train", data_dir: Any = None) -> ImageData:
    """Reads a data set.

    Args:
        name: a name in :data:`DATA_SETS`.
        split: 'train' or 'test'; the last 360 digits are their test split.
        data_dir: folder that contains the folders of the data sets; without it
            ``$NC_JAX_DATA``, a cache, and the official addresses are tried.

    Raises:
        ValueError: an unknown name or split, or a file that is truncated or of another kind.
        FileNotFoundError: the data were not found; the message says where files are expected.
        ImportError: the digits need scikit-learn, downloads pooch.
    """
    if name not in DATA_SETS:
        raise ValueError(f"data must be one of {', '.join(DATA_SETS)}, got {name!r}")
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    source = DATA_SETS[name].source
    if source is None:
        return _digits(split)
    names = _names(name, source, split)
    folder = locate(name, source, names, data_dir)
    paths = [folder / file for file in names]
    if name == "stl10":
        return ImageData(*read_stl(*paths))
    if name.startswith("cifar"):
        parts = [read_cifar(path, DATA_SETS[name].num_classes) for path in paths]
        return ImageData(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise ValueError(
            f"{folder} must hold images [N, h, w] and N labels 0…9, "
            f"got shapes {images.shape} and {labels.shape}"
        )
    return ImageData(images[..., None], labels.astype(np.int32))


def _names(name: str, source: Source, split: str) -> tuple[str, ...]:
    """The files of one split."""
    mark = "t10k" if name in ("mnist", "fashion_mnist") else "test"
    return tuple(f for f in source.files if f.startswith(mark) == (split == "test"))


def _digits(split: str) -> ImageData:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the digits need scikit-learn: pip install 'nc-jax[train]'") from error
    bunch: Any = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    chosen = slice(None, -360) if split == "train" else slice(-360, None)
    return ImageData(images[chosen], bunch.target[chosen].astype(np.int32))


def resized(data: ImageData, size: int) -> ImageData:
    """The same images at size × size, bilinear; images of that size are returned unchanged."""
    images = data.images
    if images.shape[1:3] == (size, size):
        return data

    @jax.jit
    def scale(part: jax.Array) -> jax.Array:
        shape = (*part.shape[:1], size, size, part.shape[-1])
        pixels = jax.image.resize(part.astype(np.float32), shape, "linear")
        return jax.numpy.round(pixels).astype(np.uint8)

    parts = [np.asarray(scale(images[i : i + 4096])) for i in range(0, len(images), 4096)]
    return ImageData(np.concatenate(parts), data.labels)


def digest_of(data: ImageData) -> str:
    """SHA-256 of a split's pixels and labels, which shows if a copy equals the original."""
    digest = hashlib.sha256(data.images.tobytes())
    digest.update(data.labels.astype(np.int64).tobytes())
    return digest.hexdigest()
