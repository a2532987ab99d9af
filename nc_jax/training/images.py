"""Images on the device: unsigned bytes, normalised when a batch is taken."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.datasets import DataSet, ImageData


class Images(NamedTuple):
    """The images of a split on the device.

    Attributes:
        pixels: [N, h, w, c] unsigned bytes.
        labels: [N].
        mean: mean of the training pixels in each channel, as a share of 255.
        deviation: their standard deviation, likewise.
    """

    pixels: Array
    labels: Array
    mean: Array
    deviation: Array

    def batch(self, indices: Array) -> tuple[Array, Array]:
        """Normalised images [B, h, w, c] and their labels."""
        pixels = self.pixels[indices].astype(jnp.float32) / 255
        return (pixels - self.mean) / self.deviation, self.labels[indices]


def on_device(data: ImageData, known: DataSet) -> Images:
    """Copies a split to the device.

    Args:
        data: the images, as :func:`nc_jax.datasets.load_images` returns them.
        known: their data set, for the mean and deviation of the pixels.
    """
    mean, deviation = (np.asarray(x, np.float32) for x in (known.mean, known.deviation))
    arrays = (data.images, data.labels, mean, deviation)
    return Images(*(jnp.asarray(array) for array in arrays))


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
