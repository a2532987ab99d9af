"""Two passes on the host: moments of the metrics in float64, decisions of plain NumPy."""

import threading
import zipfile

import numpy as np
import pytest

from nc_jax import metrics
from nc_jax.diagnosis import FeatureArchive
from nc_jax.diagnosis.passes import measure_samples
from nc_jax.diagnosis.reading import read_ahead

COUNTS = (900, 250, 40, 1)


def samples(offset=0.0, spread=0.3, width=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    means = rng.normal(size=(len(COUNTS), width))
    rows = means[labels] + spread * rng.normal(size=(len(labels), width)) + offset
    classifiers = (means + 0.5 * rng.normal(size=means.shape)).astype(np.float32)
    return rows.astype(np.float32), labels.astype(np.int32), classifiers


def parts(rows, labels, size):
    return lambda: (
        (rows[first : first + size], labels[first : first + size])
        for first in range(0, len(labels), size)
    )


@pytest.mark.parametrize("size", [1, 100, 5000])
@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 2e-6), (300.0, 2e-4)])
def test_moments_are_those_of_float64(offset, tolerance, size):
    rows, labels, _ = samples(offset)
    found, _ = measure_samples(parts(rows, labels, size), len(COUNTS), None, None)
    exact = rows.astype(np.float64)
    means = np.stack([exact[labels == k].mean(axis=0) for k in range(len(COUNTS))])
    centred = exact - means[labels]
    covariances = [centred[labels == k].T @ centred[labels == k] / n for k, n in enumerate(COUNTS)]
    np.testing.assert_array_equal(found.counts, COUNTS)
    np.testing.assert_allclose(found.means, means, rtol=2e-7, atol=2e-7)
    np.testing.assert_allclose(found.scatter, np.mean(covariances, axis=0), atol=tolerance)
    variances = [np.trace(covariance) for covariance in covariances]
    np.testing.assert_allclose(found.variances, variances, rtol=10 * tolerance, atol=tolerance)


def test_moments_are_those_of_the_metrics():
    rows, labels, _ = samples()
    found, _ = measure_samples(parts(rows, labels, 64), len(COUNTS), None, None)
    known = metrics.class_moments(rows, labels, len(COUNTS))
    for one, other in ((found.means, known.means), (found.scatter, known.scatter)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("bias", [None, np.float32([0, 0.5, -0.5, 2])])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_decisions_are_those_of_plain_products(bias, offset):
    rows, labels, classifiers = samples(offset, spread=1.5)
    _, judged = measure_samples(parts(rows, labels, 99), len(COUNTS), classifiers, bias)
    logits = rows @ classifiers.T + (0 if bias is None else bias)
    chosen = logits.argmax(axis=1)
    means = np.stack([rows[labels == k].mean(axis=0, dtype=float) for k in range(len(COUNTS))])
    distances = ((rows[:, None] - means.astype(float)) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(
        judged.right, np.bincount(labels[chosen == labels], minlength=len(COUNTS))
    )
    assert judged.differ == np.sum(chosen != distances.argmin(axis=1)) > 0
    assert judged.least == rows.min()


def test_without_classifiers_the_nearest_mean_decides():
    rows, labels, _ = samples(spread=0.01)
    _, judged = measure_samples(parts(rows, labels, 99), len(COUNTS), None, None)
    assert judged.right.tolist() == list(COUNTS) and judged.differ == 0


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "at least one batch"),
        ([(np.ones((3, 2), np.float32), np.array([0, 1, 1]))], r"missing: \[2\]"),
        ([(np.ones((3, 2), np.float32), np.array([0, 1, 3]))], "labels must be 0…2"),
        ([(np.ones((3, w), np.float32), np.arange(3)) for w in (2, 4)], "equal width"),
    ],
)
def test_bad_batches_are_named(batches, message):
    with pytest.raises(ValueError, match=message):
        measure_samples(lambda: batches, 3, None, None)


def test_the_next_part_is_read_while_one_is_used():
    asked = [threading.Event() for _ in range(4)]

    def numbers():
        for number, event in enumerate(asked):
            event.set()
            yield number

    seen = []
    for number in read_ahead(numbers()):
        seen.append(number)
        assert number == 3 or asked[number + 1].wait(timeout=10)
    assert seen == [0, 1, 2, 3]


def test_an_error_of_the_reader_is_raised_and_an_abandoned_one_is_closed():
    closed = []

    def failing():
        try:
            yield 1
            raise ValueError("damaged")
        finally:
            closed.append(True)

    parts = read_ahead(failing())
    assert next(parts) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(parts)

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    parts = read_ahead(endless())
    assert next(parts) == 0
    parts.close()
    assert closed == [True, True]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("claimed", [len(COUNTS) + 1200, 10**15])
def test_an_array_that_ends_early_is_named(tmp_path, method, claimed):
    """The header claims more rows, or wider ones, than there are."""
    rows, labels, _ = samples()
    source, path = tmp_path / "whole.npz", tmp_path / "features.npz"
    np.savez(source, features=rows, labels=labels)
    shape = str(rows.shape)
    altered = f"({len(rows)}, {claimed})".ljust(len(shape))
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(path, "w", method) as file:
        for name in whole.namelist():
            text = whole.read(name)
            if name == "features.npy":
                extra = len(altered) - len(shape)
                text = text.replace(
                    shape.encode() + b", }" + b" " * extra, f"{altered}, }}".encode()
                )
            file.writestr(name, text)
    with pytest.raises(ValueError, match="array 'features' of .* is truncated"):
        list(FeatureArchive(path).batches())
