"""Data sets read from files in their official formats; broken files named."""

import dataclasses
import gzip
import hashlib
import http.server
import io
import tarfile
import threading
from functools import partial

import numpy as np
import pytest

from nc_jax.datasets import (
    DATA_SETS,
    balanced_features,
    files,
    gaussian_classes,
    load_images,
)


def idx(array):
    """An IDX file of unsigned bytes, gzipped."""
    shape = np.array(array.shape, ">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes())


@pytest.fixture(autouse=True)
def nothing_outside(tmp_path_factory, monkeypatch):
    """No data of this machine's, an empty cache and no network."""
    monkeypatch.delenv("NC_JAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

    def refuse(source, folder):
        raise OSError("no network")

    monkeypatch.setattr(files, "download", refuse)


def cifar100_records(count):
    records = np.random.default_rng(1).integers(0, 256, (count, 3074))
    records[:, 0], records[:, 1] = np.arange(count) % 20, np.arange(count) + 90
    return records.astype(np.uint8)


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
    with pytest.raises(FileNotFoundError, match="t10k-images.* into mnist/ .*no network"):
        load_images("mnist")
    with pytest.raises(FileNotFoundError, match="fashion_mnist"):
        load_images("fashion_mnist", data_dir=folder)
    with pytest.raises(FileNotFoundError, match="mnist: --data-dir .*nowhere is not a folder"):
        load_images("mnist", data_dir=folder / "nowhere")
    (folder / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels"):
        load_images("mnist", "test", folder)
    with pytest.raises(ValueError, match="digits, mnist"):
        load_images("imagenet")
    with pytest.raises(ValueError, match="split"):
        load_images("digits", "validation")
    monkeypatch.setenv("NC_JAX_DATA", str(folder / "nowhere"))
    with pytest.raises(FileNotFoundError, match="NC_JAX_DATA .*nowhere is not a folder"):
        load_images("mnist")


def test_cifar100_has_fine_labels(tmp_path):
    place = tmp_path / "cifar-100-binary"
    place.mkdir()
    records = cifar100_records(6)
    for name in ("train.bin", "test.bin"):
        (place / name).write_bytes(records.tobytes())
    images, labels = load_images("cifar100", data_dir=tmp_path)
    assert labels.tolist() == [90, 91, 92, 93, 94, 95]
    assert images[3, 5, 2, 2] == records[3, 2 + 2 * 1024 + 5 * 32 + 2]
    (place / "test.bin").write_bytes(cifar100_records(11).tobytes())
    with pytest.raises(ValueError, match=r"test\.bin must have labels 0…99"):
        load_images("cifar100", "test", tmp_path)


def test_stl_planes_are_stored_by_column(tmp_path):
    place = tmp_path / "stl10_binary"
    place.mkdir()
    raw = np.random.default_rng(2).integers(0, 256, (2, 3, 96, 96)).astype(np.uint8)
    for split in ("train", "test"):
        (place / f"{split}_X.bin").write_bytes(raw.tobytes())
        (place / f"{split}_y.bin").write_bytes(bytes([10, 1]))
    images, labels = load_images("stl10", data_dir=tmp_path)
    assert labels.tolist() == [9, 0] and images.shape == (2, 96, 96, 3)
    # Row 7, column 11 of the green plane.
    assert images[1, 7, 11, 1] == raw[1, 1, 11, 7]
    (place / "test_y.bin").write_bytes(bytes([1, 0]))
    with pytest.raises(ValueError, match="labels 1…10"):
        load_images("stl10", "test", tmp_path)
    (place / "test_y.bin").write_bytes(bytes([1, 2, 3]))
    with pytest.raises(ValueError, match="must hold 2 labels"):
        load_images("stl10", "test", tmp_path)
    (place / "train_X.bin").write_bytes(raw.tobytes()[:-1])
    with pytest.raises(ValueError, match="whole images"):
        load_images("stl10", "train", tmp_path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """An address that serves a folder, in place of the official one."""
    monkeypatch.undo()
    monkeypatch.delenv("NC_JAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield root, f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def archive_of(contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_downloads_are_checked_and_unpacked(server, monkeypatch, tmp_path):
    root, address = server
    raw = cifar100_records(5).tobytes()
    names = ("cifar-100-binary/train.bin", "../../test.bin")
    content = archive_of({names[0]: raw, names[1]: raw, "../../evil": b"x"})
    (root / "cifar-100-binary.tar.gz").write_bytes(content)
    known = DATA_SETS["cifar100"]
    digest = hashlib.md5(content).hexdigest()
    served = known.source._replace(address=address, checksums={"cifar-100-binary.tar.gz": digest})
    monkeypatch.setitem(DATA_SETS, "cifar100", dataclasses.replace(known, source=served))
    assert load_images("cifar100").labels.tolist() == [90, 91, 92, 93, 94]
    found = sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert found == ["test.bin", "train.bin"]
    # Once there, no server is asked again.
    (root / "cifar-100-binary.tar.gz").unlink()
    assert len(load_images("cifar100", "test").labels) == 5


def test_a_download_that_differs_is_refused(server, monkeypatch):
    root, address = server
    (root / "cifar-100-binary.tar.gz").write_bytes(archive_of({"train.bin": b"x"}))
    known = DATA_SETS["cifar100"]
    served = known.source._replace(address=address)
    monkeypatch.setitem(DATA_SETS, "cifar100", dataclasses.replace(known, source=served))
    with pytest.raises(FileNotFoundError, match="train.bin, test.bin into cifar-100-binary/"):
        load_images("cifar100")


def test_constants_of_the_digits_are_theirs():
    pixels = load_images("digits").images / 255
    np.testing.assert_allclose(pixels.mean(), DATA_SETS["digits"].mean[0], atol=1e-4)
    np.testing.assert_allclose(pixels.std(), DATA_SETS["digits"].deviation[0], atol=1e-4)


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
