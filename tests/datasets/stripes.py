"""A data set in one file, as someone else would write it: stripes in three directions."""

import numpy as np

from nc_jax.datasets import ImageData


class Stripes:
    """The class is the direction; phase and noise vary. Every image is computed, none is read."""

    num_classes = 3
    mean = (0.5, 0.25)
    deviation = (0.4, 0.2)
    sizes = {"train": 240, "test": 90}

    def load(self, split, data_dir=None):
        rng = np.random.default_rng(["train", "test"].index(split))
        labels = np.arange(self.sizes[split], dtype=np.int32) % 3
        down, right = np.mgrid[:8, :8]
        place = np.stack([down, right, down + right])[labels]
        wave = np.sin(np.pi / 2 * place + rng.uniform(0, 2 * np.pi, (len(labels), 1, 1)))
        grey = np.clip(127.5 * (1 + wave) + rng.normal(0, 10, wave.shape), 0, 255)
        return ImageData(np.stack([grey, grey / 2], axis=-1).astype(np.uint8), labels)
