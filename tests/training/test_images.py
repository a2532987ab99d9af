"""Images on the device, and the names of the room."""

import numpy as np
import pytest

from nc_jax import datasets, training
from nc_jax.datasets import DATA_SETS, ImageData, load_images
from nc_jax.training import on_device, resized


def test_resizing_is_bilinear():
    ramp = np.tile(np.arange(0, 160, 20, dtype=np.uint8), (8, 1))[None, ..., None]
    large = resized(ImageData(ramp, np.zeros(1, np.int32)), 16).images
    assert large.shape == (1, 16, 16, 1) and large.dtype == np.uint8
    np.testing.assert_array_equal(large[0, 3, 1:-1, 0], np.arange(5, 145, 10))
    same = load_images("digits")
    assert resized(same, 8) is same


def test_batches_are_normalised():
    digits = load_images("digits")
    pixels, labels = on_device(digits, DATA_SETS["digits"]).batch(np.arange(1437))
    np.testing.assert_array_equal(labels, digits.labels)
    np.testing.assert_allclose((np.mean(pixels), np.std(pixels)), (0, 1), atol=2e-4)


def test_the_front_door_has_what_a_training_needs():
    assert {"Trainer", "Run", "train", "Recipe", "on_device", "measure"} <= set(training.__all__)
    assert training.Trainer.__module__ == "nc_jax.training.loop"


def test_moved_names_are_found_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"is now nc_jax\.datasets\.choose_subset"):
        assert training.choose_subset is datasets.choose_subset
    assert "choose_subset" not in training.__all__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = training.no_such_name
