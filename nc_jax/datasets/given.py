"""Data sets of the user's own images: arrays in memory, or a ``.npz`` archive of them."""

import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nc_jax.datasets.images import (
    SPLITS,
    ImageData,
    normalisation_of,
    require_arrays,
    require_images,
)

SUFFIX = ".npz"


class GivenImages:
    """A data set of images in memory.

    Attributes:
        num_classes: K.
        mean: of the training pixels in each channel, as a share of 255.
        deviation: standard deviation of the same, one for a constant channel.
    """

    num_classes: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __init__(self, train: ImageData, test: ImageData):
        """Computes the number of classes and the normalisation from the training images.

        Args:
            train: images [N, height, width, channels], unsigned bytes, and labels [N], integers
                0…K−1 where K − 1 is the largest label.
            test: the held-out images, in the same form.

        Raises:
            TypeError, ValueError: images or labels of another form, or test images of another
                size; the message names the split.
        """
        self._splits: dict[str, ImageData] = {}
        for name, split in zip(SPLITS, (train, test), strict=True):
            require_arrays(name, split)
            self._splits[name] = ImageData(*map(np.asarray, split))
        train, test = self._splits.values()
        self.num_classes = int(train.labels.max()) + 1
        self.mean, self.deviation = normalisation_of(train.images)
        shape, other = (list(split.images.shape[1:]) for split in (train, test))
        if shape != other:
            raise ValueError(
                f"test: images must have the shape {shape} of the training images, got {other}"
            )
        for name, split in self._splits.items():
            require_images(name, split, self)

    def load(self, split: str, data_dir: Any = None) -> ImageData:
        """The images of one split, 'train' or 'test'."""
        return self._splits[split]


class ImageArchive:
    """A data set in an archive that ``numpy.savez`` or ``numpy.savez_compressed`` wrote.

    Its arrays are ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, of the
    form that :class:`GivenImages` describes. The file is read when something is needed, and
    nothing in it is unpickled.

    Attributes:
        path: the archive.
    """

    path: Path

    def __init__(self, path: Any):
        """Looks only whether there is such a file.

        Raises:
            FileNotFoundError: there is none.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no archive of images at {self.path}")

    @property
    def num_classes(self) -> int:
        """K, one more than the largest training label."""
        return self._properties[0]

    @property
    def mean(self) -> tuple[float, ...]:
        """[channels] mean of the training pixels, as a share of 255."""
        return self._properties[1]

    @property
    def deviation(self) -> tuple[float, ...]:
        """[channels] their standard deviation, one for a constant channel."""
        return self._properties[2]

    def load(self, split: str, data_dir: Any = None) -> ImageData:
        """The images of one split.

        Raises:
            ValueError: the file is no archive, lacks an array, or holds one of another form.
        """
        return self._read().load(split)

    @cached_property
    def _properties(self) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
        """The numbers alone; the images are not kept in memory for them."""
        given = self._read()
        return given.num_classes, given.mean, given.deviation

    def _read(self) -> GivenImages:
        names = [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")]
        try:
            with np.load(self.path) as archive:
                missing = [name for name in names if name not in archive]
                if missing:
                    raise ValueError(f"it lacks {', '.join(missing)}")
                arrays = [archive[name] for name in names]
            return GivenImages(ImageData(*arrays[:2]), ImageData(*arrays[2:]))
        except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path} is not an archive of images: {error}") from error
