"""Image data sets in their official files, and the 8×8 digits, which are part of scikit-learn."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nc_jax.datasets.files import Source, locate
from nc_jax.datasets.formats import read_cifar, read_idx, read_stl
from nc_jax.datasets.images import ImageData

# How the names of the files of a test split begin.
TEST = ("test", "t10k")

# Reads the files of one split, in the order in which a source lists them.
Reader = Callable[[Sequence[Path]], ImageData]


@dataclasses.dataclass(frozen=True)
class OfficialImages:
    """A data set in its official files, which are downloaded if necessary.

    Attributes:
        name: its name in messages.
        num_classes: K.
        mean: mean of the training pixels in each channel, as a share of 255.
        deviation: standard deviation of the training pixels in each channel, likewise.
        source: its files.
        read: reads the files of a split.
    """

    name: str
    num_classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    source: Source
    read: Reader

    def load(self, split: str, data_dir: Any = None) -> ImageData:
        """The images of one split.

        Args:
            split: 'train' or 'test'.
            data_dir: folder that contains the folders of the data sets; without it
                ``$NC_JAX_DATA``, a cache, and the official address are tried.

        Raises:
            ValueError: a file that is truncated or of another kind.
            FileNotFoundError: the data were not found; the message says where files are expected.
            ImportError: downloads need pooch.
        """
        held = split == "test"
        files = tuple(file for file in self.source.files if file.startswith(TEST) == held)
        folder = locate(self.name, self.source, files, data_dir)
        return self.read([folder / file for file in files])


class Digits:
    """The 8×8 digits of scikit-learn; the last 360 are the test split."""

    num_classes = 10
    mean = (0.3054,)
    deviation = (0.3753,)

    def load(self, split: str, data_dir: Any = None) -> ImageData:
        """The images of one split.

        Raises:
            ImportError: scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError(
                "the digits need scikit-learn: pip install 'nc-jax[train]'"
            ) from error
        bunch: Any = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        chosen = slice(None, -360) if split == "train" else slice(-360, None)
        return ImageData(images[chosen], bunch.target[chosen].astype(np.int32))


def read_idx_files(paths: Sequence[Path]) -> ImageData:
    """Grey images of ten classes, from a file of images and one of labels.

    Raises:
        ValueError: a file is incomplete, of another kind, or does not belong to the other.
    """
    images, labels = (read_idx(path) for path in paths)
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise ValueError(
            f"{paths[0].parent} must hold images [N, h, w] and N labels 0…9, "
            f"got shapes {images.shape} and {labels.shape}"
        )
    return ImageData(images[..., None], labels.astype(np.int32))


def read_cifar_files(paths: Sequence[Path], num_classes: int) -> ImageData:
    """The batches of CIFAR-10 or CIFAR-100, one after another.

    Raises:
        ValueError: a file is incomplete, or a label is out of range.
    """
    parts = [read_cifar(path, num_classes) for path in paths]
    return ImageData(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def read_stl_files(paths: Sequence[Path]) -> ImageData:
    """Images and labels of STL-10.

    Raises:
        ValueError: a file is incomplete, or a label is out of range.
    """
    return ImageData(*read_stl(*paths))
