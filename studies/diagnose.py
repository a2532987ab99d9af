"""What the Layer-Peeled Model says about your own network, from its features.

Give a NumPy archive with ``features`` [N, p] (the classifier's inputs on the training
set), ``labels`` [N], and, if you have them, ``classifiers`` [K, p] and ``bias`` [K], for
the labels in order:

    numpy.savez("features.npz", features=..., labels=..., classifiers=...)
    python studies/diagnose.py features.npz

The folder given by --out then holds ``report.html``, a page that opens without a
network connection, the same report in Markdown, and the table of classes. The names of the
classes are taken from ``names`` [K] in the archive or from --class-names.

It reports neural collapse NC1–NC4, the budgets E_W and E_H, which classes have merged
or vanished, which classes the model expects to merge or vanish, the imbalance ratio R0 at
which this begins, and how often to repeat the samples of small classes to prevent it. With
--weight-decay it also predicts where a network that ends in batch normalisation settles,
from class sizes and weight decay alone (with nonnegative features if those of the file are
nonnegative). Without a file it trains a small network on imbalanced digits and reports on
it. Features are read in parts: a million of 2,048 dimensions need less than 4 GB.

The head of a language model needs no features. Give ``classifiers`` [K, p], ``counts`` [K]
(how often each token occurs in the training text; zero is allowed) and, if you have them,
``names`` [K]:

    numpy.savez("head.npz", classifiers=..., counts=...)
    python studies/diagnose.py head.npz

It reports lengths and cosines against frequency, and which rows have merged or vanished;
50,000 rows take minutes and less than 4 GB. With --feature-energy or --weight-decay it also
reports what the models predict from the counts.

Time on two CPU cores: 20 s (the example).
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import pandas as pd
import tyro

from nc_jax import report
from nc_jax.diagnosis import (
    PASSES,
    FeatureArchive,
    HeadArchive,
    diagnose,
    is_head,
    measure_head,
    predict_head,
    read_class_names,
)

# The example: a small ResNet on digits, five classes of 100 and five of 2 images.
EXAMPLE = {"majority": 5, "size": 100, "ratio": 50, "epochs": 40, "decay": 0.02}


@dataclasses.dataclass(frozen=True)
class Config:
    """What to look at."""

    features: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[FEATURES.npz]")
    ] = None
    """The archive (.npz); without one, an example is trained."""
    weight_energy: float | None = None
    """E_W for an archive without classifiers; if it is missing, nothing is predicted."""
    feature_energy: float | None = None
    """E_H for the prediction of a head; it is measured if there are features."""
    weight_decay: float | None = None
    """λ of the training, on all parameters; adds the prediction from weight decay alone."""
    class_names: str | None = None
    """Names in the order of the labels: a list with commas, or a text file with one per line."""
    branches: int = 1
    """Number of normalised outputs that are added to give the features: 1, or, after a residual
    stage, its number of blocks + 1."""
    centered: bool = False
    """Whether to subtract the mean row of a head, which does not change the softmax."""
    out: Path = Path("results/diagnose")
    """Folder in which the report is written."""


PRESETS = {"quick": Config()}


def example(path: Path) -> None:
    """Features of a small network on imbalanced digits."""
    from nc_jax.datasets import DATA_SETS, choose_subset, load_images, step_sizes
    from nc_jax.training import Recipe, Run, Trainer, on_device, train

    digits = load_images("digits")
    sizes = step_sizes(10, EXAMPLE["majority"], EXAMPLE["size"], EXAMPLE["ratio"])
    chosen = choose_subset(digits.labels, sizes, 0)
    recipe = Recipe(learning_rate=0.2, weight_decay=EXAMPLE["decay"], batch_size=64)
    recipe = recipe.shortened(int(EXAMPLE["epochs"]))
    images = on_device(digits, DATA_SETS["digits"])
    trainer = Trainer("small-resnet", images, 10, recipe, len(chosen), width=1 / 8)
    (end,) = train(trainer, [Run(chosen, recipe)])
    weights = end.fetch()
    _, features, labels = trainer.outputs(weights, images, chosen)
    kernel, bias = trainer.classifier(weights)
    arrays = {"features": features, "labels": labels, "classifiers": kernel, "bias": bias}
    report.write_atomically(path, lambda file: np.savez(file, **arrays))


def diagnose_head(config: Config, path: Path, names: list[str] | None) -> report.Page:
    """A head with counts and no features: measures, predicts, reports."""
    if config.weight_energy is not None:
        raise ValueError("--weight-energy is measured from a head's rows; leave it out")
    if config.feature_energy is not None and config.weight_decay is not None:
        raise ValueError("--feature-energy and --weight-decay ask for two models; give one")
    archive = HeadArchive(path, config.centered, names)
    with report.points_bar(len(archive.counts), "rows", "failed") as progress:
        progress(0, 0)
        seen = measure_head(archive, lambda rows: progress(rows, 0))
    options = config.feature_energy, config.weight_decay, config.branches
    model, by = predict_head(archive.counts, seen.seen_energy, *options)
    page = report.head_page(path.name, archive, seen, model, by)
    print_tables(report.write_head_diagnosis(config.out, archive, seen, model, by, page))
    return page


def diagnose_features(config: Config, names: list[str] | None) -> report.Page:
    """Features and labels, or the example: measures, predicts, reports."""
    for name in ("feature_energy", "centered"):
        if getattr(config, name):
            raise ValueError(f"--{name.replace('_', '-')} is for a head with counts, see --help")
    path = config.features
    if path is None:
        path = config.out / "example.npz"
        example(path)
    archive = FeatureArchive(path, names)
    with report.points_bar(PASSES * archive.shape[0], "rows", "failed") as progress:
        progress(0, 0)
        options = config.weight_energy, config.weight_decay, config.branches
        found = diagnose(archive, *options, lambda rows: progress(rows, 0))
    source = "an example: digits" if config.features is None else config.features.name
    page = report.diagnosis_page(source, found)
    print_tables(report.write_diagnosis(config.out, found, page))
    return page


def print_tables(tables: dict[str, pd.DataFrame]) -> None:
    """Tables to the terminal, without the column that explains the measures."""
    for title, table in tables.items():
        report.print_table(table.drop(columns="what it says", errors="ignore"), title)


def main(config: Config) -> None:
    """Measures, predicts, reports."""
    start = time.perf_counter()
    for name in ("weight_energy", "feature_energy", "weight_decay"):
        value = getattr(config, name)
        if value is not None and not 0 < value < np.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be positive, got {value}")
    if config.branches < 1:
        raise ValueError(f"--branches must be at least 1, got {config.branches}")
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    path = config.features
    names = None if config.class_names is None else read_class_names(config.class_names)
    if path is not None and is_head(path):
        page = diagnose_head(config, path, names)
    else:
        page = diagnose_features(config, names)
    seconds = time.perf_counter() - start
    report.write_provenance(config.out, config, seconds)
    print(page.words.verdict.text)
    for heading, found in page.words.parts.items():
        print(f"\n{heading}", *(f"- {one.text}" for one in found), sep="\n")
    print(f"\n{config.out}/report.html, {seconds:.1f} s")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
