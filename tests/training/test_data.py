"""Data sets read from files in their official formats; broken files named."""

import gzip

import numpy as np
import pytest

from nc_jax.training import balanced_features, gaussian_classes, load_images


def idx(array):
    """An IDX file of unsigned bytes, gzipped."""
    shape = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path):
    """A tiny MNIST (both splits) and CIFAR-10."""
    rng = np.random.default_rng(0)
    mnist = tmp_path / "mnist"
    mnist.mkdir()
    for split, count in (("train", 30), ("t10k", 20)):
        images, labels = rng.integers(0, 256, (count, 4, 3)), np.arange(count) % 10
        (mnist / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (mnist / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    cifar = tmp_path / "cifar10" / "cifar-10-batches-bin"
    cifar.mkdir(parents=True)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        records = rng.integers(0, 256, (4, 3073))
        records[:, 0] = rng.integers(0, 10, 4)
        (cifar / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return tmp_path


def test_idx_files(folder, monkeypatch):
    images, labels = load_images("mnist", "train", folder)
    assert images.shape == (30, 4, 3, 1) and images.dtype == np.uint8
    expected = np.random.default_rng(0).integers(0, 256, (30, 4, 3))
    np.testing.assert_array_equal(images[..., 0], expected)
    np.testing.assert_array_equal(labels, np.arange(30) % 10)
    monkeypatch.setenv("NC_JAX_DATA", str(folder))
    assert load_images("mnist", "test").images.shape == (20, 4, 3, 1)


def test_cifar_batches(folder):
    images, labels = load_images("cifar10", data_dir=folder)
    assert images.shape == (20, 32, 32, 3) and labels.shape == (20,)
    raw = np.fromfile(folder / "cifar10/cifar-10-batches-bin/data_batch_2.bin", np.uint8)
    record = raw.reshape(4, 3073)[1]
    assert labels[5] == record[0]
    # Plane by plane, row by row.
    assert images[5, 2, 7, 1] == record[1 + 1024 + 2 * 32 + 7]
    assert load_images("cifar10", "test", folder).labels.shape == (4,)


def test_digits_need_no_file():
    train, test = load_images("digits"), load_images("digits", "test")
    assert train.images.shape == (1437, 8, 8, 1) and test.images.shape == (360, 8, 8, 1)
    assert train.images.max() == 255 and set(train.labels) == set(range(10))


def test_balanced_features():
    digits = load_images("digits")
    features, labels = balanced_features(digits, num_classes=4, per_class=7, seed=1)
    assert features.shape == (28, 64) and features.dtype == np.float64
    np.testing.assert_array_equal(labels, np.repeat(np.arange(4), 7))
    np.testing.assert_allclose(np.mean(np.sum(features**2, axis=1)), 1)
    assert len(np.unique(features, axis=0)) == 28
    again, _ = balanced_features(digits, num_classes=4, per_class=7, seed=1)
    np.testing.assert_array_equal(features, again)


def test_gaussian_classes():
    features, labels = gaussian_classes(3, 20_000, 4, 0.5, seed=0)
    means = np.stack([features[labels == k].mean(0) for k in range(3)])
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=0.02)
    np.testing.assert_allclose(np.std(features - means[labels]), 0.5, rtol=0.01)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(bytes(raw))


@pytest.mark.parametrize(
    ("name", "file", "harm"),
    [
        ("mnist", "mnist/train-images-idx3-ubyte.gz", cut),
        ("mnist", "mnist/train-images-idx3-ubyte.gz", flip),
        ("mnist", "mnist/train-images-idx3-ubyte.gz", lambda p: p.write_bytes(b"")),
        ("mnist", "mnist/train-labels-idx1-ubyte.gz", lambda p: p.write_bytes(idx(np.ones(3)))),
        ("mnist", "mnist/train-labels-idx1-ubyte.gz",
         lambda p: p.write_bytes(gzip.compress(b"no idx file"))),
        ("cifar10", "cifar10/cifar-10-batches-bin/data_batch_3.bin", cut),
        ("cifar10", "cifar10/cifar-10-batches-bin/data_batch_3.bin",
         lambda p: p.write_bytes(b"\xff" * 3073)),
    ],
)  # fmt: skip
def test_broken_files_are_named(folder, name, file, harm):
    harm(folder / file)
    with pytest.raises(ValueError, match=name.replace("10", "")):
        load_images(name, data_dir=folder)


def test_missing_files_say_what_belongs_where(folder, monkeypatch):
    monkeypatch.delenv("NC_JAX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="NC_JAX_DATA"):
        load_images("mnist")
    with pytest.raises(FileNotFoundError, match="fashion_mnist"):
        load_images("fashion_mnist", data_dir=folder)
    (folder / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load_images("mnist", "test", folder)
    with pytest.raises(ValueError, match="digits, mnist"):
        load_images("imagenet")
    with pytest.raises(ValueError, match="split"):
        load_images("digits", "validation")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: balanced_features(load_images("digits"), 1, 5, 0), "num_classes"),
        (lambda: balanced_features(load_images("digits"), 3, 0, 0), "per_class"),
        (lambda: balanced_features(load_images("digits"), 3, 10_000, 0), "per_class"),
        (lambda: gaussian_classes(3, 5, 4, -1.0, 0), "sigma"),
        (lambda: gaussian_classes(3, 5, 0, 1.0, 0), "dimension"),
    ],
)
def test_bad_options_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
