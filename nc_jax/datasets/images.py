"""Labelled images, and the protocol of a data set.

A data set is any object with the attributes and the method of :class:`DataSet`; it does not
inherit from anything here and need not be part of this package.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

SPLITS = ("train", "test")
# Number of images whose pixels are counted at a time.
TOGETHER = 4096


class ImageData(NamedTuple):
    """Images of one split.

    Attributes:
        images: [N, height, width, channels] unsigned bytes.
        labels: [N] integers 0…K−1.
    """

    images: np.ndarray
    labels: np.ndarray


class DataSet(Protocol):
    """The protocol of a data set of labelled images.

    :func:`normalisation_of` computes the mean and the deviation; :class:`GivenImages` is a
    complete data set made from arrays.
    """

    @property
    def num_classes(self) -> int:
        """K."""
        ...

    @property
    def mean(self) -> Sequence[float]:
        """[channels] mean of the training pixels, as a share of 255."""
        ...

    @property
    def deviation(self) -> Sequence[float]:
        """[channels] standard deviation of the training pixels, as a share of 255; positive."""
        ...

    def load(self, split: str, data_dir: Any = None) -> ImageData:
        """The images of one split.

        Args:
            split: 'train' or 'test'.
            data_dir: the folder that the user names for data, or None; a data set without files
                ignores it.

        Raises:
            OSError, ValueError: a file is missing or damaged; the message names it.
        """
        ...


def require_arrays(name: str, data: Any) -> None:
    """Checks the form of images and labels, whatever data set they belong to.

    Args:
        name: what they are, for the error.
        data: :class:`ImageData`.

    Raises:
        TypeError: not a pair of images and labels.
        ValueError: no images, or other shapes or dtypes than :class:`ImageData` has.
    """
    if not (isinstance(data, tuple) and len(data) == 2):
        raise TypeError(f"{name} must be ImageData(images, labels), got {type(data).__name__}")
    images, labels = (np.asarray(array) for array in data)
    _require_pixels(f"{name}: images", images)
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: labels must be {len(images)} integers, got {labels.dtype} "
            f"{list(labels.shape)}"
        )


def _require_pixels(name: str, images: np.ndarray) -> None:
    if images.ndim != 4 or images.dtype != np.uint8 or not images.size:
        raise ValueError(
            f"{name} must be unsigned bytes [N, height, width, channels], "
            f"got {images.dtype} {list(images.shape)}"
        )


def require_images(name: str, data: ImageData, known: DataSet) -> ImageData:
    """The images of a data set, unchanged.

    Args:
        name: what they are, for the error.
        data: what the data set's ``load`` returned.
        known: the data set.

    Raises:
        TypeError, ValueError: see :func:`require_arrays`; a label that is not 0…K−1, or another
            number of channels than in ``mean`` and ``deviation``.
    """
    require_arrays(name, data)
    least, most = int(np.min(data.labels)), int(np.max(data.labels))
    if least < 0 or most >= known.num_classes:
        raise ValueError(
            f"{name}: labels must be from 0 to {known.num_classes - 1}, got {least} to {most}"
        )
    channels = data.images.shape[-1]
    if {len(known.mean), len(known.deviation)} != {channels}:
        raise ValueError(
            f"{name}: mean and deviation must have one number for each of {channels} channels, "
            f"got {len(known.mean)} and {len(known.deviation)}"
        )
    return data


def normalisation_of(images: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels in each channel, as shares of 255.

    The deviation of a constant channel is set to one, because pixels are divided by it.

    Args:
        images: [N, height, width, channels] unsigned bytes.

    Raises:
        ValueError: images of another form.
    """
    images, values = np.asarray(images), np.arange(256) / 255
    _require_pixels("images", images)
    mean, deviation = [], []
    for channel in range(images.shape[-1]):
        counts = np.zeros(256, np.int64)
        for first in range(0, len(images), TOGETHER):
            part = images[first : first + TOGETHER, ..., channel]
            counts += np.bincount(part.ravel(), minlength=256)
        average = float(np.average(values, weights=counts))
        spread = float(np.sqrt(np.average((values - average) ** 2, weights=counts)))
        mean.append(average)
        deviation.append(spread if np.count_nonzero(counts) > 1 else 1.0)
    return tuple(mean), tuple(deviation)


def digest_of(data: ImageData) -> str:
    """SHA-256 of a split's pixels and labels, which shows if a copy equals the original."""
    digest = hashlib.sha256(data.images.tobytes())
    digest.update(data.labels.astype(np.int64).tobytes())
    return digest.hexdigest()
