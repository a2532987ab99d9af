"""Which cure for imbalance restores the geometry, how strong must it be, and is it useful?

Model: the Layer-Peeled Model is solved with every cure over a range of strengths, each
point certified: minority cosine, lengths of the classifiers, margins, and the distance
of the classifiers from a simplex ETF. For each cure the study reports the smallest strength
at which no classes are merged (if there is one) and the strength closest to the simplex ETF.

Networks: networks are trained with each cure over a range of strengths. One of the strengths
is chosen by the designer before training, from class sizes and weight decay alone: the one
at which unconstrained features with the network's own penalties come closest to a
simplex ETF. Reported are balanced and minority test accuracy, cosines, and states.

    python studies/cures.py
    python studies/cures.py --cures class-weights:0.5,1,2 logit-adjustment:1,2 --ratios 20 --seeds 3
    python studies/cures.py --preset cpu --data-dir DATA

Time on two CPU cores: 3 to 9 minutes; with --preset cpu 90 minutes. An interrupted study
resumes when it is started again. The preset 'paper' is for a GPU.
"""

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd

import nc_jax as nc
from nc_jax import design, report
from nc_jax.campaigns import (
    Plan,
    Training,
    TrainingOptions,
    check_majority,
    check_options,
    decays_of,
    digests_of,
    ends_of,
    load_splits,
    majority_size_of,
    measure_rows,
    pairs_of,
    step_training,
    train_plans,
)
from nc_jax.networks import NETWORKS
from nc_jax.prediction import MATRICES, has_converged, penalties_of, state_of
from nc_jax.report.cures import draw_accuracy, draw_geometry, draw_model
from nc_jax.sweeps import use_every_core
from nc_jax.training import RUN_CURES, cured_run

KEYS = ["data", "network", "majority", "ratio", "weight_decay", "seed", "cure", "strength"]
PLACE = ["data", "network", "ratio", "weight_decay"]
# Reader's names of the columns of the designer's table.
HEADS = {
    "least": "smallest strength that separates all classes",
    "best": "strength closest to a simplex ETF",
    "distance": "distance from a simplex ETF without cure",
    "at best": "distance at the closest strength",
    "large loss": "loss of a large class without cure",
    "at least": "loss of a large class at the smallest strength",
    "large margin": "margin of a large class without cure",
    "with it": "margin of a large class at the smallest strength",
    "gap": "largest duality gap",
}
# K of the curves of the model, and the number of points on a curve.
CLASSES = 10
POINTS = 37
TARGET = "simplex-etf"


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: cures, networks, training and data."""

    networks: tuple[str, ...] = ("mlp-norm",)
    """Names in nc_jax.networks.NETWORKS with batch normalisation; for one set: cifar10:vgg13."""
    cures: tuple[str, ...] = (
        "class-weights:0.5,1",
        "oversampling:0.5,1",
        "logit-adjustment:1,3",
        "vector-scaling:0.5,1.5",
        "margins:1,3",
        "label-smoothing:0.1,0.3",
        "focal:1,3",
    )
    """Cures, each with the strengths for the networks; the designer's strength is added."""
    weight_decays: tuple[str, ...] = ("0.01",)
    """λ, the weight decay, for all data sets, or for one as in cifar10:0.01."""
    epochs: int = 500
    """Number of epochs of each run."""
    lowered: tuple[float, ...] | None = (0.65, 0.9)
    """Shares of the training after which the rate drops tenfold; default: 1/3 and 2/3."""
    batch: int = 1024
    """Batch size: images in each step; all images if there are fewer."""
    even_batches: bool = True
    """Use batches of almost equal size instead of a smaller last batch."""
    measures: int = 1
    """Number of measurements per run; the last is always at its end."""
    decayed: Literal["effective", "all"] = "effective"
    """Parameters that weight decay acts on."""
    majority: int = 5
    """K_A, the number of large classes."""
    majority_size: int | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    ratios: tuple[int, ...] = (20,)
    """R of the networks' data; a small class has n_A // R images."""
    labels: Literal["random", "first"] = "random"
    """Whether the seed draws the large classes; if not, they are the first ones, as published."""
    model_ratios: tuple[float, ...] = (10.0, 100.0, 1000.0)
    """R of the curves that are computed from the model alone."""
    model_energy: float = 8.0
    """E_H of the curves that are computed from the model alone, at E_W = 1."""
    out: Path = Path("results/cures/digits")
    """Folder in which the results are written."""


FULL = (
    "class-weights:0.5,1,1.5,2",
    "oversampling:0.5,0.75,1",
    "logit-adjustment:0.5,1,1.5,2,3",
    "vector-scaling:0.5,1,1.5,2",
    "margins:1,3,10",
    "label-smoothing:0.1,0.3,0.6",
    "focal:0.5,1,2,4",
)
PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("fashion_mnist", "cifar10"),
        cures=FULL,
        weight_decays=("0.005", "0.02"),
        seeds=(0, 1),
        ratios=(10, 100),
        out=Path("results/cures/cpu"),
    ),
    "paper": Config(
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        cures=FULL,
        width=1.0,
        majority_size=None,
        weight_decays=("5e-4",),
        seeds=(0, 1, 2),
        epochs=350,
        learning_rate=0.1,
        lowered=None,
        batch=128,
        decayed="all",
        ratios=(10, 100),
        checkpoint=10,
        test_size=10_000,
        out=Path("results/cures/paper"),
    ),
}


def strengths_of(config: Config) -> dict[str, list[float]]:
    """Strengths of each cure; ValueError for an unknown cure or a strength that is not a number."""
    grids = {}
    for choice in config.cures:
        cure, _, numbers = choice.partition(":")
        if cure not in RUN_CURES or cure == "none" or cure in grids:
            known = ", ".join(RUN_CURES[1:])
            raise ValueError(f"--cures must be distinct, of {known}, got {cure}")
        try:
            grids[cure] = [float(number) for number in numbers.split(",")]
        except ValueError:
            grids[cure] = [-1.0]
        if not all(0 < strength < np.inf for strength in grids[cure]):
            raise ValueError(
                f"--cures {cure} must have positive strengths, as in 1,2; got {choice}"
            )
    return grids


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    report.require_distinct(config, "cures", "ratios", "model_ratios")
    strengths_of(config)
    check_majority(config, (config.majority,), CLASSES)
    report.require_numbers(config, "ratios", "majority_size", least=1)
    report.require_numbers(config, "model_ratios", above=1)
    report.require_numbers(config, "model_energy", above=0)
    for data, network in pairs_of(config):
        if not NETWORKS[network].head.branches or NETWORKS[network].head.layers > 1:
            raise ValueError(f"--networks must be batch-normalised with one last layer: {network}")
        if min(decays_of(config, data)) <= 0:
            raise ValueError("--weight-decays must be positive: without decay nothing is designed")


def _curve(model: Any, cure: str, majority: int) -> pd.DataFrame:
    """One row for each strength of a cure."""
    found = design.along(model, cure, np.linspace(0, design.CURES[cure][1], POINTS))
    solution, norms = found.solution, np.asarray(found.solution.classifier_norms)
    margins = np.asarray(design.margins_of(solution.logits))
    phases = np.asarray(nc.phase(solution))
    cosine = np.asarray(solution.within_cosines)[:, -1]
    columns = {"cure": cure, "strength": found.strengths, "phase": phases}
    columns |= {"minority_cosine": np.where(phases == "vanished", np.nan, cosine)}
    columns |= {"norm_ratio": norms[:, -1] / norms[:, 0]}
    columns |= {"majority_margin": margins[:, 0], "minority_margin": margins[:, majority]}
    columns |= {"distance": found.distances[TARGET], "separation": found.separation}
    return pd.DataFrame(columns | {"gap": np.asarray(solution.gap)})


def model_side(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The Layer-Peeled Model at all strengths, and the choices of the designer."""
    minority = CLASSES - config.majority

    def one(case: tuple[str, float]) -> tuple[pd.DataFrame, dict[str, Any]]:
        cure, ratio = case
        sizes = nc.two_groups(config.majority, minority, ratio)
        model = nc.LayerPeeled(sizes, 1.0, config.model_energy)
        least, best = design.least_strength(model, cure), design.best_strength(model, cure)
        price = least.price
        row = {"R": ratio, "cure": cure, "least": least.strength, "best": best.strength}
        row |= {"distance": best.distance_before, "at best": max(best.distance, 0.0)}
        row |= {"large loss": float(price.losses_before[0])}
        row |= {"at least": float(price.losses_after[0])}
        row |= {"large margin": float(price.margins_before[0])}
        row |= {"with it": float(price.margins_after[0])}
        row |= {"gap": max(float(least.solution.gap), float(best.solution.gap))}
        return _curve(model, cure, config.majority).assign(ratio=ratio), row

    cases = list(itertools.product(design.CURES, config.model_ratios))
    curves, rows = zip(*report.map_with_bar(one, cases, "cures of the model"), strict=True)
    designed = pd.DataFrame(rows).sort_values("R", kind="stable", ignore_index=True)
    return pd.concat(curves, ignore_index=True), designed


def surrogate_at(config: Config, network: str, sizes: Any, decay: float) -> Any:
    """Unconstrained features with a network's penalties but without its ReLU, so certified."""
    penalties = penalties_of(NETWORKS[network].head, decay, float(np.sum(sizes)))
    return nc.UnconstrainedFeatures(sizes, *penalties)


def design_all(config: Config, trainings: list[Training]) -> pd.DataFrame:
    """Every cure for every place: the designer's strength, and predicted cosines on its grid.

    No training is involved: one row for each strength; ``designed`` is the same for a cure.
    """
    grids = strengths_of(config)
    places = {tuple(training.about[name] for name in PLACE): training for training in trainings}
    cases = [(*item, cure) for item in places.items() for cure in grids if cure in design.CURES]

    def one(case: tuple[Any, Training, str]) -> pd.DataFrame:
        place, training, cure = case
        sizes = [training.about["majority_size"]] * config.majority
        sizes += [training.about["minority_size"]] * (
            training.about["num_classes"] - config.majority
        )
        model = surrogate_at(config, place[1], np.array(sizes, float), place[3])
        chosen = design.best_strength(model, cure, TARGET)
        designed = float(f"{chosen.strength:.3g}")
        strengths = sorted({0.0, *grids[cure], designed})
        found = design.along(model, cure, strengths)
        columns = dict(zip(PLACE, place, strict=True)) | {"cure": cure, "strength": strengths}
        columns |= {"predicted_cosine": np.asarray(found.solution.within_cosines)[:, -1]}
        columns |= {"distance": found.distances[TARGET], "separation": found.separation}
        columns |= {"designed": designed, "at_end": chosen.at_end}
        columns |= {"least": design.least_strength(model, cure).strength}
        return pd.DataFrame(columns)

    names = [*PLACE, "cure", "strength", "predicted_cosine", "designed"]
    parts = report.map_with_bar(one, cases, "cures of the networks")
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def plain_trainings(config: Config, data: str, network: str, labels: np.ndarray) -> list[Training]:
    """One training for every R, λ and seed, without a cure."""
    size = majority_size_of(config.majority_size, "--ratios", max(config.ratios), data, labels)
    axes = (config.ratios, decays_of(config, data), config.seeds)
    made = []
    for ratio, decay, seed in itertools.product(*axes):
        chosen, random = (config.majority, ratio, decay, seed), config.labels == "random"
        plain = step_training(config, (data, network), labels, size, chosen, random)
        recipe = dataclasses.replace(plain.run.recipe, decayed=config.decayed)
        about = {**plain.about, "cure": "none", "strength": 0.0}
        run = dataclasses.replace(plain.run, recipe=recipe)
        made.append(dataclasses.replace(plain, about=about, run=run))
    return made


def plans_of(
    config: Config, plain: list[Training], labels: np.ndarray, designs: pd.DataFrame
) -> list[Plan]:
    """All trainings of a network; those with the same kind of loss form a plan."""
    grids = strengths_of(config)
    plans: dict[str, list[Training]] = {"none": list(plain)}
    for training, cure in itertools.product(plain, grids):
        about = training.about
        strengths = set(grids[cure])
        own = designs[designs["cure"] == cure]
        for name in PLACE:
            own = own[own[name] == about[name]]
        strengths |= set(own["designed"]) - {0.0}
        kind = "none" if cure == "class-weights" else cure
        for strength in sorted(strengths):
            run = cured_run(training.run, labels, about["num_classes"], cure, strength)
            said = {**about, "cure": cure, "strength": strength}
            plans.setdefault(kind, []).append(dataclasses.replace(training, about=said, run=run))
    data, network = plain[0].about["data"], plain[0].about["network"]
    return [Plan(data, network, trainings) for trainings in plans.values()]


def ends_beside(through: pd.DataFrame, designs: pd.DataFrame) -> pd.DataFrame:
    """The last row of every run, its state, and the prediction of the model for it."""
    ends = ends_of(through, KEYS)
    for name in ("stationarity", "minority_cosine", "least_minority_accuracy", "balance"):
        ends[name] = ends[name] if name in ends else np.nan
    rows = ends.to_dict("records")
    ends["state"] = [state_of(row) for row in rows]
    ends["converged"] = [has_converged(row) for row in rows]
    return ends.merge(designs, on=[*PLACE, "cure", "strength"], how="left")


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """One row for each cure and place: the best strength of the grid and the designer's."""
    rows = []
    groups: Any = ends.groupby([*PLACE, "cure"], sort=False)
    for (data, network, ratio, decay, cure), own in groups:
        mean: Any = own.groupby("strength").mean(numeric_only=True)
        accuracy = mean["test_accuracy_all"].dropna()
        if not len(accuracy):
            continue
        best = accuracy.idxmax()
        row = {"data": data, "network": network, "R": ratio, "weight decay": decay, "cure": cure}
        row |= {"best strength": best, "balanced accuracy": f"{accuracy[best]:.3f}"}
        row |= {"minority accuracy": f"{mean['test_accuracy_minority'][best]:.3f}"}
        row |= {"minority cosine": f"{mean['minority_cosine'][best]:.2f}"}
        designed = own["designed"].dropna()
        if len(designed) and designed.iloc[0] in accuracy:
            chosen = designed.iloc[0]
            row |= {"designed strength": f"{chosen:g}"}
            row |= {"its balanced accuracy": f"{accuracy[chosen]:.3f}"}
            row |= {"its minority accuracy": f"{mean['test_accuracy_minority'][chosen]:.3f}"}
            row |= {"its minority cosine": f"{mean['minority_cosine'][chosen]:.2f}"}
            below = 100 * (accuracy[best] - accuracy[chosen])
            row |= {"percentage points below the best": f"{below:.1f}"}
        row |= {"runs with separated classes": f"{(own['state'] == 'separated').sum()}/{len(own)}"}
        rows.append(row | {"converged runs": f"{own['converged'].sum()}/{len(own)}"})
    return pd.DataFrame(rows).fillna("none")


def main(config: Config) -> None:
    """Solves, designs, trains, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    curves, designed = model_side(config)
    splits = load_splits(config)
    labels = {data: split[0].labels for data, split in splits.items()}
    plain = [plain_trainings(config, *pair, labels[pair[0]]) for pair in pairs_of(config)]
    designs = design_all(config, [training for own in plain for training in own])
    plans = [
        plan
        for own in plain
        for plan in plans_of(config, own, labels[own[0].about["data"]], designs)
    ]
    ends = ends_beside(train_plans(config, splits, plans, measure_rows, MATRICES), designs)
    summary = summarise(ends)
    tables = {"table": ends, "model": curves, "designed": designed, "designs": designs}
    for name, table in tables.items():
        report.write_table(table, config.out, name)
    report.write_summary(summary, config.out)
    shown = designed.rename(columns=HEADS)
    numbers = shown.columns.drop(["R", "cure"])
    shown[numbers] = shown[numbers].map(lambda x: "none" if np.isnan(x) else f"{x:.3g}")
    report.write_summary(shown, config.out, "model")
    stored = {name: report.read_table(config.out, name) for name in tables}
    figure = draw_model(stored["model"], stored["designed"])
    report.save_figure(figure, config.out, "model")
    report.save_figure(draw_accuracy(stored["table"]), config.out, "accuracy")
    report.save_figure(draw_geometry(stored["table"], stored["designs"]), config.out, "geometry")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, digests_of(splits))
    report.print_table(shown, f"The model at E_W = 1, E_H = {config.model_energy:g}")
    for _, row in designed[designed["least"].isna()].iterrows():
        print(f"no strength of {row['cure']} separates the small classes at R = {row['R']:g}")
    report.print_table(summary, "Test accuracy, averaged over classes with equal weight")
    print(f"{len(curves)} programs, largest gap {curves['gap'].max():.1e}")
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
