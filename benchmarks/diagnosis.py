"""Diagnosis of features too large for memory: time and memory, compared with plain NumPy.

The peer loads the whole archive and computes the same NC1 (with a pseudo-inverse), NC1
quotient and accuracies in float32, class by class and in place. Each side has its own process
for each file, all files are created before, and the two results must agree.

    python -m benchmarks.diagnosis
    python -m benchmarks.diagnosis --preset quick

A million features of 2,048 dimensions are a file of 8 GB; the peer needs 10 GB of memory.
"""

import dataclasses
import multiprocessing
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from nc_jax import report

# Number of rows generated at a time.
ROWS = 8192
# Ratio of the sizes of consecutive classes.
PROFILE = 0.95
# What both sides measure; the last one is the accuracy of the classifiers, averaged over classes.
MEASURES = ("nc1_pinv", "nc1_quotient", "nc4", "right")
# Tolerance for float32 sums over a million rows.
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this benchmark."""

    sizes: tuple[int, ...] = (100_000, 1_000_000)
    """Numbers of features."""
    dimension: int = 2048
    """Dimension of the features."""
    num_classes: int = 100
    """K, the number of classes, of long-tailed sizes."""
    scratch: Path | None = None
    """Folder for the archives, which are removed at the end; by default the system's."""
    out: Path = Path("results/benchmarks/diagnosis")
    """Folder in which the results are written."""


PRESETS = {"default": Config(), "quick": Config(sizes=(2_000, 20_000), dimension=64)}


def write_archive(path: Path, size: int, config: Config) -> None:
    """Writes Gaussian classes of long-tailed sizes in random order, part by part."""
    rng = np.random.default_rng(0)
    classes, width = config.num_classes, config.dimension
    means = rng.standard_normal((classes, width), np.float32)
    share = PROFILE ** np.arange(classes)
    labels = rng.choice(classes, size, p=share / share.sum())
    labels[:classes] = np.arange(classes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (size, width)}
            npy.write_array_header_1_0(file, header)
            for first in range(0, size, ROWS):
                own = means[labels[first : first + ROWS]]
                file.write((own + rng.standard_normal(own.shape, np.float32)).tobytes())
        for name, array in (("labels", labels), ("classifiers", means)):
            with archive.open(f"{name}.npy", "w") as file:
                npy.write_array(file, array)


def streamed(path: Path) -> dict[str, float]:
    """The measures computed by the diagnosis itself."""
    from nc_jax.diagnosis import FeatureArchive, measure_archive

    seen = measure_archive(FeatureArchive(path))
    found = seen.collapse | {"right": float(seen.accuracy.mean())}
    return {name: found[name] for name in MEASURES}


def in_memory(path: Path) -> dict[str, float]:
    """The same measures by NumPy, with all features in memory."""
    with np.load(path) as archive:
        features, labels, classifiers = (
            archive[name] for name in ("features", "labels", "classifiers")
        )
    classes, width = classifiers.shape
    rows = [np.flatnonzero(labels == k) for k in range(classes)]
    means = np.stack([features[own].mean(axis=0) for own in rows])
    within, right, differ = np.zeros((width, width), np.float32), np.zeros(classes), 0.0
    for k, own in enumerate(rows):
        part = features[own]
        chosen = np.argmax(part @ classifiers.T, axis=1)
        nearest = np.argmax(part @ means.T - 0.5 * np.sum(means**2, axis=1), axis=1)
        right[k], differ = np.mean(chosen == k), differ + float(np.sum(chosen != nearest))
        part -= means[k]
        within += part.T @ part / (len(own) * classes)
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / classes
    # NumPy's default cut-off counts rounding errors as rank.
    cut = max(width, classes) * np.finfo(np.float32).eps
    inverse = np.linalg.pinv(between, cut, hermitian=True)
    return {
        "nc1_pinv": float(np.sum(within * inverse.T)) / classes,
        "nc1_quotient": float(np.trace(within) / np.trace(between)),
        "nc4": differ / len(labels),
        "right": float(right.mean()),
    }


def timed(work: Callable[[Path], dict[str, float]], path: Path) -> dict[str, float]:
    """In a separate process: the result, its duration and the peak memory of the process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, work, path).result()


def _measured(work: Callable[[Path], dict[str, float]], path: Path) -> dict[str, float]:
    start = time.perf_counter()
    found = work(path)
    seconds = time.perf_counter() - start
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found | {
        "seconds": seconds,
        "GB": kilobytes * (1024 if sys.platform != "darwin" else 1) / 1e9,
    }


def compare(config: Config, folder: Path, size: int) -> dict[str, Any]:
    """Both sides on a file with ``size`` features."""
    path = folder / f"{size}.npz"
    write_archive(path, size, config)
    own, peer = (timed(work, path) for work in (streamed, in_memory))
    for name in MEASURES:
        if abs(own[name] - peer[name]) > TOLERANCE * max(abs(peer[name]), 1):
            raise RuntimeError(f"{name} of {size} features: {own[name]} against {peer[name]}")
    row = {"features": size, "file, GB": path.stat().st_size / 1e9}
    row |= {"seconds": own["seconds"], "peak, GB": own["GB"]}
    row |= {"NumPy, seconds": peer["seconds"], "NumPy, peak, GB": peer["GB"]}
    path.unlink()
    return row | {"times as fast": peer["seconds"] / own["seconds"]}


def main(config: Config) -> None:
    """Runs the benchmark, stores and prints the table."""
    begin = time.perf_counter()
    if config.num_classes < 2 or config.dimension < 1 or min(config.sizes) < config.num_classes:
        raise ValueError("--sizes must be at least --num-classes, which must be 2 or more")
    report.prepare_folder(config.out)
    with tempfile.TemporaryDirectory(dir=config.scratch) as folder:
        rows = report.map_with_bar(
            lambda size: compare(config, Path(folder), size), config.sizes, "files"
        )
    table = pd.DataFrame(rows)
    report.write_table(table, config.out)
    shown = table.map(lambda value: f"{value:,.3g}").assign(
        features=[f"{size:,}" for size in table["features"]]
    )
    report.write_summary(shown, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - begin)
    report.print_table(shown, f"Diagnosis of features of {config.dimension:,} dimensions")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
