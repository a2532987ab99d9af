"""Can the last layers of a trained network be predicted before training?

Networks are trained on data in which K − K_A classes are small, until the last layer
has converged. Each run is compared with surrogates: the Layer-Peeled Model at the budgets
measured in the run (as in Fang, He, Long, Su, PNAS 2021), and models that know only the
class sizes and the weight decay: unconstrained features, the model matched to the
network (nonnegative features behind a ReLU), and a deep one. Not only the cosine of the
small classes is compared but all angles, lengths and the loss. A second set of runs increases
and then decreases R, each run starting where the last one ended: where both directions differ,
the end state depends on the path, and no global optimum can predict it.

    python studies/prediction.py
    python studies/prediction.py --majority 4 --ratios 1 3 8 15 --weight-decays 0.01 --seeds 5 6
    python studies/prediction.py --preset cpu --data-dir DATA

The seed decides which labels are large. By default weight decay does not act on the layers
that a batch normalisation follows: there it only changes the size of the steps, not the
stationary points (--decayed all decays all parameters).

Time on two CPU cores: 150 s; with --preset cpu some hours. An interrupted study resumes when it
is started again. The preset 'paper' is for a GPU.
"""

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd

from nc_jax import report
from nc_jax.campaigns import (
    Plan,
    Training,
    TrainingOptions,
    check_majority,
    check_options,
    decays_of,
    digests_of,
    load_splits,
    majority_size_of,
    measure_rows,
    pairs_of,
    step_training,
    train_plans,
)
from nc_jax.datasets import ImageData, find_data_set
from nc_jax.prediction import (
    LEAGUE,
    MATRICES,
    STATES,
    follow_branches,
    has_converged,
    lines_of,
    predict_runs,
    state_of,
)
from nc_jax.report.prediction import draw_league, draw_loop, draw_map, draw_overlay
from nc_jax.sweeps import use_every_core
from nc_jax.theory import deep_linear_lines, deep_linear_ratio

KEYS = ["data", "network", "majority", "weight_decay", "seed", "branch", "ratio"]
# Numbers of layers of the deep models whose lines are drawn.
LAYERS = (1, 2, 3)
# Imbalance counts as mild up to this R.
MILD = 20
# Runs closer to a line than this factor in R are not counted for or against it.
NEAR = 1.5


@dataclasses.dataclass(frozen=True)
class Config(TrainingOptions):
    """Options of this study: networks, training and data."""

    networks: tuple[str, ...] = ("mlp-norm",)
    """Names in nc_jax.networks.NETWORKS, for all data sets, or for one: cifar10:convnet-norm."""
    weight_decays: tuple[str, ...] = ("0.005", "0.02")
    """λ, the weight decay, for all data sets, or for one as in cifar10:0.01."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of weights, sample order, choice of images and large classes; one run each."""
    epochs: int = 600
    """Number of epochs of each run."""
    learning_rate: float = 0.2
    """Learning rate at the start of training."""
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
    majority: tuple[int, ...] = (5,)
    """K_A, the number of large classes; each value gets its own panel."""
    majority_size: int | None = 100
    """n_A, the number of images of a large class; by default all that each class has."""
    ratios: tuple[int, ...] = (1, 5, 10, 20, 50)
    """R of the runs trained from scratch; a small class has n_A // R images."""
    loop: tuple[int, ...] = (1, 10, 50, 100)
    """Increasing R of the runs that go up and down again; fewer than two values: no such runs."""
    loop_decays: tuple[float, ...] = (0.02,)
    """λ of the runs with --loop; a subset of --weight-decays."""
    labels: Literal["random", "first"] = "random"
    """Whether the seed draws the large classes; if not, they are the first ones, as published."""
    surrogates: tuple[str, ...] = tuple(LEAGUE)
    """Surrogates to compare the runs with."""
    lines: bool = False
    """Also follow the branches of the deep models under cross-entropy (some minutes)."""
    out: Path = Path("results/prediction/digits")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        data=("fashion_mnist", "cifar10"),
        majority=(3, 5, 7),
        weight_decays=("0.005", "0.01", "0.02"),
        seeds=(0, 1, 2),
        ratios=(1, 5, 10, 20, 50, 100),
        loop_decays=(0.01, 0.02),
        lines=True,
        out=Path("results/prediction/cpu"),
    ),
    "paper": Config(
        data=("fashion_mnist", "cifar10"),
        networks=("fashion_mnist:vgg11", "cifar10:vgg13", "resnet18"),
        width=1.0,
        majority=(3, 5, 7),
        majority_size=None,
        weight_decays=("5e-4", "5e-3"),
        seeds=(0, 1, 2),
        epochs=350,
        learning_rate=0.1,
        lowered=None,
        batch=128,
        decayed="all",
        ratios=(1, 10, 50, 100, 200, 500, 1000),
        loop=(),
        checkpoint=10,
        test_size=10_000,
        out=Path("results/prediction/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_options(config)
    report.require_distinct(config, "majority", "ratios")
    report.require_distinct(config, "surrogates", known=LEAGUE)
    report.require_numbers(config, "ratios", "majority_size", least=1)
    check_majority(config, config.majority)
    if list(config.loop) != sorted(set(config.loop)) or min(config.loop, default=1) < 1:
        raise ValueError(f"--loop must be rising ratios from 1 on, got {report.shown(config.loop)}")
    if config.loop_decays:
        report.require_numbers(config, "loop_decays", above=0)
    for data in config.data:
        if min(decays_of(config, data)) <= 0:
            raise ValueError("--weight-decays must be positive: without decay nothing is predicted")


def _training(config: Config, data: ImageData, place: Any, size: int, chosen: Any) -> Training:
    """A training from scratch, with all numbers that the surrogates need."""
    random = config.labels == "random"
    training = step_training(config, place, data.labels, size, chosen, random)
    recipe = dataclasses.replace(training.run.recipe, decayed=config.decayed)
    known = find_data_set(place[0])
    pixels = data.images[training.subset].astype(np.float32) / 255
    pixels = (pixels - np.asarray(known.mean)) / np.asarray(known.deviation)
    energy = float(np.mean(np.sum(pixels**2, axis=(1, 2, 3))))
    about = dict(training.about, branch="scratch", input_energy=energy)
    run = dataclasses.replace(training.run, recipe=recipe)
    return dataclasses.replace(training, about=about, run=run)


def plan_of(config: Config, data: str, network: str, images: ImageData) -> Plan:
    """The runs from scratch and the runs of the loop."""
    most = max(config.ratios + config.loop)
    size = majority_size_of(config.majority_size, "--ratios and --loop", most, data, images.labels)
    place, decays = (data, network), decays_of(config, data)

    def made(majority: int, ratio: int, decay: float, seed: int, branch: str) -> Training:
        training = _training(config, images, place, size, (majority, ratio, decay, seed))
        return dataclasses.replace(training, about=dict(training.about, branch=branch))

    axes = (config.majority, config.ratios, decays, config.seeds)
    trainings = [made(*chosen, "scratch") for chosen in itertools.product(*axes)]
    chains = []
    if len(config.loop) > 1:
        around = [decay for decay in decays if decay in config.loop_decays]
        for majority, decay, seed in itertools.product(config.majority, around, config.seeds):
            for branch, path in (("up", config.loop), ("down", config.loop[::-1])):
                chains.append([made(majority, ratio, decay, seed, branch) for ratio in path])
    return Plan(data, network, trainings, chains)


def ends_of_runs(through: pd.DataFrame) -> pd.DataFrame:
    """The last row of every run, its state, and whether it has converged."""
    ends = through.groupby(KEYS, sort=False).tail(1).reset_index(drop=True)
    needed = ("stationarity", "minority_cosine", "least_minority_accuracy")
    for name in (*needed, "train_accuracy_majority"):
        ends[name] = ends[name] if name in ends else np.nan
    rows = ends.to_dict("records")
    return ends.assign(
        state=[state_of(row) for row in rows], converged=[has_converged(row) for row in rows]
    )


def league_of(table: pd.DataFrame) -> pd.DataFrame:
    """Error of each surrogate on the runs that converged with separated classes."""
    rows = []
    groups: Any = table.groupby(["data", "network", "surrogate"], sort=False)
    for (data, network, surrogate), own in groups:
        kept = own[own["converged"] & (own["state"] == "separated")]
        told = kept.dropna(subset=["predicted_cosine"])
        if not len(own.dropna(subset=["predicted_cosine"])):
            continue
        mild = told[told["ratio"] <= MILD]
        losses = told["predicted_loss"] / told["train_loss"]
        lengths = (told["predicted_small_norm"] / told["seen_small_norm"] - 1).abs()
        rows.append(
            {
                "data": data,
                "network": network,
                "surrogate": surrogate,
                "fitted": own["fitted"].iloc[0],
                "runs": len(told),
                "mean error of the small-class cosine": told["difference"].abs().mean(),
                f"mean error at R ≤ {MILD}": mild["difference"].abs().mean(),
                "largest error": told["difference"].abs().max(),
                "RMS error of classifier cosines": told["classifier_rms"].mean(),
                "RMS error of class-mean cosines": told["mean_rms"].mean(),
                "relative error of small-class lengths": lengths.mean(),
                "median predicted / measured loss": losses.median(),
            }
        )
    shown = pd.DataFrame(rows)
    numbers = shown.select_dtypes("number").columns.drop("runs", errors="ignore")
    return shown.assign(**{name: shown[name].map("{:.3f}".format) for name in numbers})


def states_of(ends: pd.DataFrame) -> pd.DataFrame:
    """Number of runs in each state, and how many of them have converged."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "branch", "weight_decay", "majority", "ratio"])
    for (data, network, branch, decay, majority, ratio), own in groups:
        counts = own["state"].value_counts()
        row = {"data": data, "network": network, "branch": branch, "weight decay": decay}
        row |= {"K_A": majority, "R": ratio, "runs": len(own)}
        row |= {name: int(counts.get(name, 0)) for name in STATES}
        row |= {"converged": int(own["converged"].sum())}
        row |= {"minority cosine": f"{own['minority_cosine'].mean():.3f}"}
        row |= {"minority accuracy": f"{own['train_accuracy_minority'].mean():.2f}"}
        rows.append(row)
    return pd.DataFrame(rows)


def _cases(config: Config) -> list[tuple[int, int, int]]:
    """Every M, K_A and K for which lines are needed."""
    classes = sorted({find_data_set(data).num_classes for data in config.data})
    return list(itertools.product(LAYERS, config.majority, classes))


def closed_lines(config: Config) -> pd.DataFrame:
    """Lines of deep linear heads over weight decay, in closed form."""
    decays = np.geomspace(1e-4, 0.2, 100)
    rows = []
    for layers, majority, classes in _cases(config):
        minority = classes - majority
        for line, price in deep_linear_lines(layers)._asdict().items():
            ratios = np.asarray(deep_linear_ratio(layers, price, majority, minority, decays))
            own = {"model": "linear", "layers": layers, "majority": majority, "line": line}
            own |= {"num_classes": classes}
            rows.append(pd.DataFrame(own | {"weight_decay": decays, "ratio": ratios}))
    return pd.concat(rows, ignore_index=True)


def followed_lines(config: Config) -> pd.DataFrame:
    """Lines of deep models with ReLU under cross-entropy, from following both branches."""
    asked = [decay for data in config.data for decay in decays_of(config, data)]
    decays = np.geomspace(min(asked) / 2, max(asked) * 2, 6)
    ratios = np.geomspace(1, 1000, 19)

    def one(case: tuple[int, int, int]) -> pd.DataFrame:
        layers, majority, classes = case
        size = config.majority_size or 1000
        branches = follow_branches(majority, classes - majority, size, ratios, decays, layers)
        found = lines_of(branches).assign(model="relu", majority=majority, num_classes=classes)
        found["residual"] = branches["residual"].max()
        return found.melt(
            ["model", "layers", "majority", "num_classes", "weight_decay", "residual"],
            ["existence", "equality"],
            "line",
            "ratio",
        )

    return pd.concat(report.map_with_bar(one, _cases(config), "deep models"), ignore_index=True)


def foretold(ends: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """How many states from scratch each line predicts: separated below it, not separated above."""
    runs = ends[(ends["branch"] == "scratch") & (ends["state"] != "broken")]
    rows = []
    groups: Any = lines.groupby(["model", "layers", "line"])
    for (model, layers, line), own in groups:
        right = counted = 0
        for (majority, classes), part in own.groupby(["majority", "num_classes"]):
            part = part.dropna(subset=["ratio"]).sort_values("weight_decay")
            mine = runs[(runs["majority"] == majority) & (runs["num_classes"] == classes)]
            if not len(part) or not len(mine):
                continue
            known = np.log(np.maximum(part["ratio"], 1e-3))
            at = np.interp(np.log(mine["weight_decay"]), np.log(part["weight_decay"]), known)
            distance = np.log(mine["ratio"]) - at
            far = np.abs(distance) >= np.log(NEAR)
            apart = mine["state"] == "separated"
            right += int((far & (apart == (distance < 0))).sum())
            counted += int(far.sum())
        share = f"{right / counted:.2f}" if counted else "none"
        rows.append({"model": model, "layers": layers, "line": line, "runs": counted})
        rows[-1] |= {"share predicted correctly": share}
    return pd.DataFrame(rows)


def main(config: Config) -> None:
    """Trains, solves, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    splits = load_splits(config)
    plans = [plan_of(config, *pair, splits[pair[0]][0]) for pair in pairs_of(config)]
    through = train_plans(config, splits, plans, measure_rows, MATRICES)
    ends = ends_of_runs(through)
    table = predict_runs(ends, config.surrogates)
    lines = closed_lines(config)
    if config.lines:
        lines = pd.concat([lines, followed_lines(config)], ignore_index=True)
    report.write_table(table, config.out)
    report.write_table(ends, config.out, "runs")
    report.write_table(lines, config.out, "lines")
    league, states, told = league_of(table), states_of(ends), foretold(ends, lines)
    for name, summary in (("table", league), ("states", states), ("lines", told)):
        report.write_summary(summary, config.out, name)
    stored = report.read_table(config.out)
    report.save_figure(draw_overlay(stored), config.out, "overlay")
    report.save_figure(draw_league(stored), config.out, "league")
    report.save_figure(draw_map(stored, report.read_table(config.out, "lines")), config.out, "map")
    if set(stored["branch"]) != {"scratch"}:
        report.save_figure(draw_loop(stored), config.out, "loop")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, digests_of(splits))
    report.print_table(states, "Runs by state")
    report.print_table(told, "States of runs from scratch, predicted by the lines of deep models")
    report.print_table(league, "Surrogates compared with converged separated runs")
    scratch = ends[(ends["branch"] == "scratch") & (ends["ratio"] <= MILD)]
    print(
        f"{scratch['converged'].sum()} of {len(scratch)} runs from scratch at R ≤ {MILD} converged"
    )
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
