"""Data sets by name: those that this package knows, and archives of the user's own images."""

from functools import cache, partial
from pathlib import Path
from typing import Any

from nc_jax.checks import require_members
from nc_jax.datasets.files import Source
from nc_jax.datasets.given import SUFFIX, ImageArchive
from nc_jax.datasets.images import SPLITS, DataSet, ImageData, require_images
from nc_jax.datasets.official import (
    Digits,
    OfficialImages,
    read_cifar_files,
    read_idx_files,
    read_stl_files,
)


def _idx_source(place: str, folder: str, address: str, checksums: tuple[str, ...]) -> Source:
    kinds = ("images-idx3", "labels-idx1")
    files = tuple(f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in kinds)
    return Source((place, folder), files, address, dict(zip(files, checksums, strict=True)))


KRIZ = "https://www.cs.toronto.edu/~kriz"
CIFAR10_FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")

# Further data sets can be added: DATA_SETS["name"] = any object with the protocol.
DATA_SETS: dict[str, DataSet] = {
    "digits": Digits(),
    "mnist": OfficialImages(
        "mnist",
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
        read_idx_files,
    ),
    "fashion_mnist": OfficialImages(
        "fashion_mnist",
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
        read_idx_files,
    ),
    "cifar10": OfficialImages(
        "cifar10",
        10,
        (0.4914, 0.4822, 0.4465),
        (0.247, 0.243, 0.261),
        Source(
            ("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"),
            CIFAR10_FILES,
            KRIZ,
            {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
        ),
        partial(read_cifar_files, num_classes=10),
    ),
    "cifar100": OfficialImages(
        "cifar100",
        100,
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        Source(
            ("cifar-100-binary", "cifar100/cifar-100-binary"),
            ("train.bin", "test.bin"),
            KRIZ,
            {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
        ),
        partial(read_cifar_files, num_classes=100),
    ),
    "stl10": OfficialImages(
        "stl10",
        10,
        (0.4467, 0.4398, 0.4066),
        (0.2603, 0.2566, 0.2713),
        Source(
            ("stl10_binary", "stl10/stl10_binary"),
            ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
            "http://ai.stanford.edu/~acoates/stl10",
            {"stl10_binary.tar.gz": "91f7769df0f17e558f3565bffb0c7dfb"},
        ),
        read_stl_files,
    ),
}


def find_data_set(data: str | DataSet) -> DataSet:
    """A data set by its name.

    Args:
        data: a name in :data:`DATA_SETS`; the path of an archive ``*.npz``, see
            :class:`ImageArchive`; or a data set, which is returned unchanged.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: there is no such archive.
        TypeError: an object without the attributes of :class:`DataSet`.
    """
    if not isinstance(data, str):
        members = ("num_classes", "mean", "deviation", "load")
        require_members("data", data, members, f"a name or have {', '.join(members)}")
        return data
    if data in DATA_SETS:
        return DATA_SETS[data]
    if not data.endswith(SUFFIX):
        names = ", ".join(DATA_SETS)
        raise ValueError(f"data must be one of {names}, or an archive *{SUFFIX}, got {data!r}")
    path = Path(data)
    # A file that was replaced is another data set.
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    return _archive(path.absolute(), changed)


@cache
def _archive(path: Path, changed: int) -> ImageArchive:
    """The archive whose properties are read only once."""
    return ImageArchive(path)


def load_images(data: str | DataSet, split: str = "train", data_dir: Any = None) -> ImageData:
    """Reads and checks one split of a data set.

    Args:
        data: a data set, or its name; see :func:`find_data_set`.
        split: 'train' or 'test'.
        data_dir: folder that contains the folders of the data sets; without it
            ``$NC_JAX_DATA``, a cache, and the official addresses are tried.

    Raises:
        ValueError: an unknown name or split, a file that is truncated or of another kind, or
            images or labels of another form than :class:`ImageData`.
        FileNotFoundError: the data were not found; the message says where files are expected.
        ImportError: the digits need scikit-learn, downloads pooch.
    """
    known = find_data_set(data)
    if split not in SPLITS:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    name = data if isinstance(data, str) else type(data).__name__
    return require_images(f"{name}, {split}", known.load(split, data_dir), known)
