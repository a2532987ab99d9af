"""What the Layer-Peeled Model says of your own network, from its features.

Give a NumPy archive with ``features`` [N, p] (the classifier's inputs on the training
set), ``labels`` [N], and, if you have them, ``classifiers`` [K, p] and ``bias`` [K], for
the labels in order:

    numpy.savez("features.npz", features=..., labels=..., classifiers=...)
    python studies/diagnose.py features.npz

It reports neural collapse NC1–NC4, the budgets E_W and E_H, which classes have merged
or vanished and which the model expects to, the imbalance ratio R0 from which on they
do, and how often to repeat the samples of small classes against it. With --weight-decay
it says besides what a network behind batch normalisation settles at by its class sizes
and weight decay alone (features of zero or above where the file's are). Without a file it
trains a small network on imbalanced digits and reports on that. Features are read in
parts: a million of 2,048 dimensions take less than 4 GB.

A language model's head needs no features: ``classifiers`` [K, p] and ``counts`` [K], how
often each token is in the training text (zero if never), perhaps ``names`` [K]:

    numpy.savez("head.npz", classifiers=..., counts=...)
    python studies/diagnose.py head.npz

It reports lengths and cosines against frequency and which rows have merged or vanished,
for 50,000 rows in minutes and less than 4 GB; with --feature-energy or --weight-decay
also what the models predict from the counts.

Time on two CPU cores: 20 s (the example).
"""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure

from nc_jax import report
from nc_jax.diagnosis import (
    MERGED,
    NO_PREDICTION,
    VANISHED,
    ArrayFile,
    FeatureArchive,
    HeadArchive,
    HeadMeasured,
    HeadPredicted,
    Measured,
    Predicted,
    Recommended,
    Settled,
    clusters,
    head_findings,
    measure_archive,
    measure_head,
    predict_collapse,
    predict_head_at_budgets,
    predict_head_at_decay,
    predict_settled,
    prediction_findings,
    recommend_cures,
)

# Rows of the report's table of classes, from the smallest.
SHOWN = 20
# How much closer than predicted the two smallest classes are to count as in another state.
DIFFERENT = 0.2
# The example: a small ResNet on digits, five classes of 100 and five of 2 images.
EXAMPLE = {"majority": 5, "size": 100, "ratio": 50, "epochs": 40, "decay": 0.02}


@dataclasses.dataclass(frozen=True)
class Config:
    """What to look at."""

    features: Annotated[
        tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="[FEATURES.npz]")
    ] = None
    """The archive (.npz); none for an example."""
    weight_energy: float | None = None
    """E_W where the archive has no classifiers; none leaves the prediction out then."""
    feature_energy: float | None = None
    """E_H for a head's prediction; with features it is measured."""
    weight_decay: float | None = None
    """λ of the training, on all parameters: predicts by it too; none leaves that out."""
    branches: int = 1
    """Normalised outputs whose sum the features are: 1, or of a residual stage its blocks + 1."""
    centered: bool = False
    """Whether to look at a head less its mean row, which a softmax does not see."""
    out: Path = Path("results/diagnose")
    """Folder of the report."""


PRESETS = {"quick": Config()}


def example(path: Path) -> None:
    """Features of a small network on imbalanced digits."""
    from nc_jax.training import DATA_SETS, Recipe, choose_subset, load_images, step_sizes
    from nc_jax.training.images import on_device
    from nc_jax.training.loop import Run, Trainer, train

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


def classes_table(archive: FeatureArchive, seen: Measured, model: Predicted | None) -> pd.DataFrame:
    """One row a class, the smallest first."""
    table = pd.DataFrame(
        {
            "class": archive.names,
            "samples": seen.counts,
            "right": [f"{share:.3f}" for share in seen.accuracy],
            "length": [f"{length:.3f}" for length in seen.norms],
        }
    )
    # A classifier of zero has no cosine with any.
    others = np.nan_to_num(seen.cosines, nan=-np.inf)
    np.fill_diagonal(others, -np.inf)
    best = others.max(axis=1)
    table["nearest class"] = np.where(
        np.isfinite(best), archive.names[others.argmax(axis=1)].astype(str), "none"
    )
    table["its cosine"] = [f"{value:.3f}" if np.isfinite(value) else "" for value in best]
    if model is not None:
        table["repeat"] = [f"{rate:.3g}" for rate in model.oversampling]
    return table.sort_values("samples", kind="stable").head(SHOWN)


def findings(archive: FeatureArchive, seen: Measured, model: Predicted | None) -> list[str]:
    """What a reader should know, one sentence each."""
    names = archive.names

    def listed(classes: list[int]) -> str:
        shown = ", ".join(str(names[k]) for k in classes[:10])
        return shown + (f" and {len(classes) - 10} more" if len(classes) > 10 else "")

    what = "classifiers" if archive.classifiers is not None else "class means"
    lines = []
    for group in clusters(seen.cosines, MERGED):
        lines.append(f"Merged: the {what} of classes {listed(group)} (cosines above {MERGED}).")
    gone = np.flatnonzero(seen.norms < VANISHED).tolist()
    if gone:
        lines.append(f"Vanished: the {what} of classes {listed(gone)} are shorter than 1 %.")
    lines = lines or [f"No two {what} have merged and none has vanished."]
    if model is None:
        lines.append("No prediction: the archive has no classifiers; --weight-energy gives E_W.")
        return lines
    least, dimensions = len(names) - 1, archive.shape[1]
    if dimensions < least:
        lines.append(
            f"Take the model with care: it supposes features of at least {least} dimensions, "
            f"one fewer than classes, and these have {dimensions}."
        )
    ratio = "all classes are equally large"
    if model.ratio > 1:
        ratio = f"the largest class has {model.ratio:.4g} times the samples of the smallest"
    if model.rank >= least:
        lines.append(f"The model, at these budgets and sizes ({ratio}), keeps all classes apart.")
    for group in model.merged:
        lines.append(f"The model, at these budgets and sizes, merges classes {listed(group)}.")
    if model.vanished:
        lines.append(f"The model's classifiers of classes {listed(model.vanished)} are zero.")
    if not np.isfinite(model.collapse_ratio):
        lines.append("It expects no collapse at these budgets along this profile of sizes.")
    else:
        distance = model.ratio / model.collapse_ratio
        place = (
            f"{distance:.3g} times beyond"
            if distance >= 1
            else f"a factor {1 / distance:.3g} below"
        )
        lines.append(
            f"Collapse begins at R0 = {model.collapse_ratio:.5g}; the data are {place} it."
        )
    most = model.oversampling.max()
    if most > 1:
        lines.append(
            f"Against it, repeat the samples of the smallest class {most:.3g} times, of the others "
            "as in the table, or weigh their losses so."
        )
    return lines


def settled_findings(seen: Measured, settled: Settled) -> list[str]:
    """What class sizes and weight decay alone say, beside what is seen."""
    smallest = np.argsort(seen.counts, kind="stable")[:2]
    told, found = (cosines[smallest[0], smallest[1]] for cosines in (settled.cosines, seen.cosines))
    off = ~np.eye(len(seen.counts), dtype=bool)
    difference = np.abs(settled.cosines - seen.cosines)[off]
    signs = "features of zero or above" if settled.nonnegative else "features of any sign"
    lines = [
        f"By class sizes and weight decay alone ({signs}; {settled.phase}, certified to "
        f"{settled.gap:.1e}) the cosine of the two smallest classes is {told:.3f}; "
        f"seen {found:.3f}."
    ]
    if np.isfinite(difference).any():
        lines.append(
            f"Over all pairs of classes that prediction is {np.nanmean(difference):.3f} off."
        )
    lost = seen.accuracy[seen.counts <= np.median(seen.counts)].min()
    if np.isfinite(told) and found - told > DIFFERENT and lost < 0.5:
        lines.append(
            "The small classes are closer than at that optimum and not all learnt: the network is "
            "in the state that training reaches from scratch beyond a certain imbalance, not at "
            "the optimum. Dense networks that were first trained on balanced data stayed at the "
            "optimum (studies/prediction.py)."
        )
    return lines


PASTE = {
    "logit-adjustment": "offsets, added to the logits of a training step and not in use",
    "class-weights": "class weights, factors of the samples' losses",
}


def cure_findings(cures: list[Recommended], model: str) -> list[str]:
    """What to do against imbalance, the vectors ready to paste."""
    lines = []
    for place, cure in enumerate(cures):
        first = "Cure" if place == 0 else "Or"
        rule = "τ log π, τ" if cure.cure == "logit-adjustment" else "n^−s, s"
        kept = "keeps all classes apart" if cure.parts else "still merges classes"
        least = ""
        if cure.least > 0:
            least = f" The least that parts all classes is {cure.least:.3g}."
        lines.append(
            f"{first}: {cure.cure}, {rule} = {cure.strength:.3g}, the strength at which {model} "
            f"is closest to a simplex ETF (distance {cure.distance_before:.3f} without, "
            f"{cure.distance:.3f} with it); it {kept}.{least}"
        )
        if cure.parts:
            vector = ", ".join(f"{value:.4g}" for value in cure.parameters)
            lines.append(f"The {PASTE[cure.cure]}, in the order of the classes: [{vector}]")
    return lines


def numbers_table(seen: Measured) -> pd.DataFrame:
    """Neural collapse and budgets."""
    rows = dict(seen.collapse)
    rows |= {"E_W": seen.weight_energy, "E_H": seen.feature_energy}
    rows["E"] = float(np.sqrt(seen.weight_energy * seen.feature_energy))
    return pd.DataFrame({"measure": list(rows), "value": [f"{v:.5g}" for v in rows.values()]})


def draw(
    archive: FeatureArchive, seen: Measured, model: Predicted | None, settled: Settled | None = None
) -> Figure:
    """Cosines seen and predicted, classes by size, and the way to collapse."""
    order = np.argsort(-seen.counts, kind="stable")
    panels: list[tuple[str, Any]] = [("seen", seen.cosines)]
    panels += [] if model is None else [("Layer-Peeled Model", model.cosines)]
    panels += [] if settled is None else [("weight decay alone", settled.cosines)]
    width = len(panels) + (1 if model else 0)
    figure, axes = report.new_figure(1, width, 3.2 * width + 0.8, 3.2, False, False)
    for axis, (title, cosines) in zip(axes[0], panels, strict=False):
        shown = axis.imshow(cosines[np.ix_(order, order)], vmin=-1, vmax=1, cmap="PuOr_r")
        axis.set_title(f"cosines, {title}")
        axis.set_xlabel("class, from the largest")
        axis.set_ylabel("class, from the largest")
        ticks = np.unique(np.linspace(0, len(order) - 1, min(len(order), 10)).astype(int))
        axis.set_xticks(ticks, archive.names[order][ticks])
        axis.set_yticks(ticks, archive.names[order][ticks])
        figure.colorbar(shown, ax=axis, shrink=0.8)
    if model is not None:
        axis = axes[0, width - 1]
        if len(model.path):
            axis.plot(model.path[:, 0], model.path[:, 1], color=report.PALETTE[0], label="model")
        smallest = np.argsort(model.sizes, kind="stable")[:2]
        seen_cosine = seen.cosines[smallest[0], smallest[1]]
        axis.plot(model.ratio, seen_cosine, "o", color=report.PALETTE[1], label="seen")
        axis.axvline(model.ratio, color=report.PALETTE[1], linewidth=1)
        if np.isfinite(model.collapse_ratio):
            axis.axvline(model.collapse_ratio, color="0.5", linestyle=":", label="$R_0$")
        axis.set_xscale("log")
        axis.set_ylim(-1.05, 1.05)
        axis.set_xlabel("largest over smallest class")
        axis.set_ylabel("cosine of the two smallest")
        report.legend_outside(figure, axis, columns=3)
    return figure


def predict_of_head(
    config: Config, archive: HeadArchive, seen: HeadMeasured
) -> tuple[HeadPredicted | None, str]:
    """The model that the options ask for, and its name."""
    if config.weight_decay is not None:
        model = predict_head_at_decay(archive.counts, config.weight_decay, config.branches)
        return model, f"weight decay {config.weight_decay:g} alone"
    if config.feature_energy is None:
        return None, ""
    energies = seen.seen_energy, config.feature_energy
    by = "the Layer-Peeled Model at E_W = {:.4g}, E_H = {:.4g}".format(*energies)
    return predict_head_at_budgets(archive.counts, *energies), by


def diagnose_head(config: Config, path: Path) -> list[str]:
    """A head with counts and no features: measures, predicts, reports."""
    if config.weight_energy is not None:
        raise ValueError("--weight-energy is measured from a head's rows; leave it out")
    if config.feature_energy is not None and config.weight_decay is not None:
        raise ValueError("--feature-energy and --weight-decay ask for two models; give one")
    archive = HeadArchive(path, config.centered)
    with report.points_bar(len(archive.counts), "rows", "failed") as progress:
        progress(0, 0)
        seen = measure_head(archive, lambda rows: progress(rows, 0))
    lines = head_findings(archive, seen)
    model, by = predict_of_head(config, archive, seen)
    lines += [NO_PREDICTION] if model is None else prediction_findings(archive, seen, model, by)
    report.save_figure(report.draw_head(archive.counts, seen, model, by), config.out, "diagnosis")
    title, tables = f"Diagnosis of the head {path.name}", report.head_tables(archive, seen, SHOWN)
    report.write_report(config.out, title, lines, "Lengths and cosines against counts", tables)
    for name, table in tables.items():
        report.print_table(table, name)
    return lines


def is_head(path: Path) -> bool:
    """Whether an archive has counts and no features."""
    arrays = ArrayFile(path).arrays
    return "counts" in arrays and "features" not in arrays


def diagnose_features(config: Config) -> list[str]:
    """Features and labels, or the example: measures, predicts, reports."""
    for name in ("feature_energy", "centered"):
        if getattr(config, name):
            raise ValueError(f"--{name.replace('_', '-')} is for a head with counts, see --help")
    path, decay = config.features, config.weight_decay
    if path is None:
        path = config.out / "example.npz"
        example(path)
    archive = FeatureArchive(path)
    with report.points_bar(3 * archive.shape[0], "rows", "failed") as progress:
        progress(0, 0)
        seen = measure_archive(archive, lambda rows: progress(rows, 0))
    energy = seen.weight_energy if archive.classifiers is not None else config.weight_energy
    model = None
    if energy is not None and energy > 0 and seen.feature_energy > 0:
        model = predict_collapse(seen.counts, energy, seen.feature_energy)
    numbers, classes = numbers_table(seen), classes_table(archive, seen, model)
    lines, settled = findings(archive, seen, model), None
    if decay is not None:
        biased = archive.classifiers is None or archive.bias is not None
        settled = predict_settled(seen.counts, decay, seen.least >= 0, config.branches, biased)
        lines += settled_findings(seen, settled)
    if model is not None and model.ratio > 1:
        budgets = seen.weight_energy if energy is None else energy, seen.feature_energy
        cures = recommend_cures(seen.counts, *budgets, decay, config.branches)
        said = "the Layer-Peeled Model at these budgets"
        lines += cure_findings(cures, said if decay is None else "the model of this weight decay")
    report.save_figure(draw(archive, seen, model, settled), config.out, "diagnosis")
    source = "an example: digits" if config.features is None else config.features.name
    tables = {"Measures": numbers, f"The smallest classes, at most {SHOWN}": classes}
    report.write_report(config.out, f"Diagnosis of {source}", lines, "Cosines", tables)
    report.print_table(numbers, "Measures")
    report.print_table(classes, "The smallest classes")
    return lines


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
    if path is not None and is_head(path):
        lines = diagnose_head(config, path)
    else:
        lines = diagnose_features(config)
    seconds = time.perf_counter() - start
    report.write_provenance(config.out, config, seconds)
    print("\n".join(lines))
    print(f"{config.out}/report.md, {seconds:.1f} s")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
