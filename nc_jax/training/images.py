"""Images on the device: unsigned bytes, normalised when a batch is taken."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.training.data import DataSet, ImageData


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
    """Copies a split to the device."""
    mean, deviation = (np.asarray(x, np.float32) for x in (known.mean, known.deviation))
    arrays = (data.images, data.labels, mean, deviation)
    return Images(*(jnp.asarray(array) for array in arrays))
