"""Data sets written outside the package: trained by the loop, by campaigns and by studies."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from nc_jax.campaigns import Plan, TrainingOptions, load_splits, step_training, train_plans
from nc_jax.datasets import (
    DATA_SETS,
    GivenImages,
    ImageArchive,
    ImageData,
    choose_subset,
    find_data_set,
    load_images,
    normalisation_of,
)
from nc_jax.training import Recipe, Run, Trainer, on_device, train
from tests.datasets.stripes import Stripes
from tests.running import run_study

STRIPES = Stripes()
OPTIONS = TrainingOptions(
    data=("stripes",), networks=("mlp-norm",), width=1 / 16, epochs=15, measures=1
)


@pytest.fixture
def archive(tmp_path):
    """The stripes as a user saves them."""
    train_images, train_labels = STRIPES.load("train")
    test_images, test_labels = STRIPES.load("test")
    np.savez(tmp_path / "stripes.npz", train_images=train_images, train_labels=train_labels,
             test_images=test_images, test_labels=test_labels)  # fmt: skip
    return tmp_path / "stripes.npz"


def test_the_loop_learns_it():
    data, held = load_images(STRIPES), load_images(STRIPES, "test")
    chosen = choose_subset(data.labels, [60, 60, 20], seed=0)
    recipe = Recipe(epochs=15, milestones=(10,), batch_size=32)
    images = on_device(data, STRIPES)
    trainer = Trainer("mlp-norm", images, 3, recipe, longest=len(chosen), width=1 / 16)
    (end,) = train(trainer, [Run(chosen, recipe)])
    logits, _, labels = trainer.outputs(end.fetch(), on_device(held, STRIPES), np.arange(90))
    assert np.mean(np.argmax(logits, axis=1) == labels) > 0.9


def trained(options, splits):
    ((data, split),) = splits.items()
    place = data, "mlp-norm"
    training = step_training(options, place, split.train.labels, 60, (2, 3, 0.01, 0))
    return train_plans(options, splits, [Plan(*place, [training])])


def test_a_campaign_trains_it_by_its_name(tmp_path, monkeypatch, archive):
    monkeypatch.setitem(DATA_SETS, "stripes", STRIPES)
    options = dataclasses.replace(OPTIONS, out=tmp_path)
    splits = load_splits(options)
    row = trained(options, splits).iloc[-1]
    assert row["num_classes"] == 3 and row["minority_size"] == 20 and row["status"] == "trained"
    assert row["test_accuracy_all"] > 0.9
    # As an archive it has the numbers of its own pixels, and is another data set.
    options = dataclasses.replace(options, data=(str(archive),))
    own = trained(options, load_splits(options)).iloc[-1]
    assert own["test_accuracy_all"] > 0.9 and own["loss"] != row["loss"]
    assert len(list((tmp_path / "runs").glob("*/table.parquet"))) == 2


def test_a_study_trains_an_archive(tmp_path, archive):
    done = run_study(
        "minority_collapse", "--preset", "quick", "--data", archive, "--networks", "mlp-norm",
        "--majority", "1", "--majority-size", "60", "--ratios", "1", "4", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(tmp_path / "out" / "table.parquet")
    assert set(rows["num_classes"]) == {3} and set(rows["data"]) == {str(archive)}
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert list(provenance["data"]) == [str(archive)]


@pytest.mark.parametrize("name", ["stripes", "nowhere.npz"])
def test_a_study_names_the_option_of_a_set_that_is_not_there(tmp_path, name):
    done = run_study("minority_collapse", "--data", name, "--out", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "--data" in done.stderr and name in done.stderr


def test_an_archive_is_what_was_saved(archive, tmp_path):
    known, given = find_data_set(str(archive)), GivenImages(*map(STRIPES.load, ("train", "test")))
    assert isinstance(known, ImageArchive) and find_data_set(str(archive)) is known
    assert (known.num_classes, known.mean, known.deviation) == (3, given.mean, given.deviation)
    for split in ("train", "test"):
        for found, saved in zip(load_images(str(archive), split), STRIPES.load(split), strict=True):
            np.testing.assert_array_equal(found, saved)
    # A file that is replaced is read again.
    two = ImageData(*(array[:2] for array in STRIPES.load("train")))
    np.savez(archive, train_images=two.images, train_labels=two.labels, test_images=two.images,
             test_labels=two.labels)  # fmt: skip
    assert find_data_set(str(archive)).num_classes == 2


def test_normalisation_is_that_of_the_pixels():
    images = np.random.default_rng(0).integers(0, 200, (5000, 2, 3, 2), dtype=np.uint8)
    images[..., 1] = 51
    mean, deviation = normalisation_of(images)
    share = images / 255
    np.testing.assert_allclose(mean, share.mean(axis=(0, 1, 2)), rtol=1e-12)
    assert deviation[0] == pytest.approx(share[..., 0].std(), rel=1e-12) and deviation[1] == 1


IMAGES, LABELS = STRIPES.load("test")


@pytest.mark.parametrize(
    ("split", "error", "named"),
    [
        (ImageData(IMAGES / 255, LABELS), ValueError, "train: images must be unsigned bytes"),
        (
            ImageData(IMAGES[..., 0], LABELS),
            ValueError,
            r"images must be .* got uint8 \[90, 8, 8\]",
        ),
        (ImageData(IMAGES[:0], LABELS[:0]), ValueError, "images must be"),
        (ImageData(IMAGES, LABELS[:-1]), ValueError, "labels must be 90 integers"),
        (ImageData(IMAGES, LABELS * 1.0), ValueError, "labels must be 90 integers"),
        (ImageData(IMAGES, LABELS - 1), ValueError, "labels must be from 0 to 1, got -1"),
        (ImageData(IMAGES[..., :1], LABELS), ValueError, "test: images must have the shape"),
    ],
)
def test_images_of_another_form_are_named(split, error, named):
    with pytest.raises(error, match=named):
        GivenImages(split, ImageData(IMAGES, np.minimum(LABELS, 1)))


class Three:
    """A faulty data set: three labels, two of them known, and one channel too few."""

    num_classes, mean, deviation = 2, (0.5,), (0.4,)

    def load(self, split, data_dir=None):
        return ImageData(IMAGES, LABELS) if split == "train" else (IMAGES[..., :1], LABELS % 2, 0)


def test_what_an_outside_data_set_returns_is_checked():
    with pytest.raises(ValueError, match="Three, train: labels must be from 0 to 1, got 0 to 2"):
        load_images(Three())
    with pytest.raises(TypeError, match="Three, test must be ImageData"):
        load_images(Three(), "test")
    known = Three()
    known.num_classes = 3
    with pytest.raises(ValueError, match="one number for each of 2 channels, got 1 and 1"):
        load_images(known)
    with pytest.raises(TypeError, match="num_classes, mean, deviation, load"):
        load_images(object())
    with pytest.raises(ValueError, match=r"digits, .*or an archive \*\.npz, got 'stripes'"):
        load_images("stripes")


def test_archives_that_are_none_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        find_data_set(str(tmp_path / "nowhere.npz"))
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "half.npz", train_images=IMAGES, train_labels=LABELS)
    np.savez(tmp_path / "floats.npz", train_images=IMAGES / 255, train_labels=LABELS,
             test_images=IMAGES, test_labels=LABELS)  # fmt: skip
    np.savez(tmp_path / "pickled.npz", train_images=np.array([{}]), train_labels=LABELS,
             test_images=IMAGES, test_labels=LABELS)  # fmt: skip
    for name, named in {
        "text": r"text\.npz is not an archive of images",
        "half": "it lacks test_images, test_labels",
        "floats": "train: images must be unsigned bytes",
        "pickled": r"pickled\.npz is not an archive",
    }.items():
        with pytest.raises(ValueError, match=named):
            load_images(str(tmp_path / f"{name}.npz"))
