"""Do the minority classes of real networks collapse where the Layer-Peeled Model says?

Repeats Figs. 2 and 4 and Table 1 of Fang, He, Long, Su (PNAS 2021): networks are
trained on data of which K − K_A classes are small; at the end the cosine of the
minority classifiers and the budgets E_W, E_H are measured, the model is solved at
exactly those, and both cosines are laid over each other against the ratio R.

    python studies/minority_collapse.py
    python studies/minority_collapse.py --preset cpu --data-dir DATA
    python studies/minority_collapse.py --networks small-resnet --width 0.125 --epochs 60

A run that was killed goes on from its newest checkpoint when it is started again.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import nc_jax as nc
from nc_jax import report
from nc_jax.networks import NETWORKS
from nc_jax.sweeps import forget
from nc_jax.training import DATA_SETS, Recipe, choose_subset, load_images, resized, step_sizes
from nc_jax.training.loop import Images, Run, Trainer, on_device, train
from nc_jax.training.loop import Progress as Epoch
from nc_jax.training.measures import measure

RUNS = "runs"


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train and where to look for data."""

    data: Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "stl10"] = "digits"
    """The images; a class's order of choice depends on the seed alone."""
    data_dir: Path | None = None
    """Folder of the data; then $NC_JAX_DATA, a cache and the network are tried."""
    networks: tuple[str, ...] = ("mlp",)
    """Of nc_jax.networks.NETWORKS; one row of panels each."""
    width: float = 0.25
    """Multiplies the networks' numbers of channels."""
    majority: tuple[int, ...] = (3, 5, 7)
    """K_A, how many classes are large; one panel each."""
    majority_size: int = 100
    """n_A, images of a large class."""
    ratios: tuple[int, ...] = (1, 2, 4, 7, 10, 20, 50, 100)
    """R; a small class has n_A // R images."""
    weight_decays: tuple[float, ...] = (5e-3,)
    """λ on every parameter; one column of marks each."""
    seeds: tuple[int, ...] = (0,)
    """Of weights, orders and the choice of images; one run each."""
    epochs: int = 300
    """Of each run; the rate falls by ten after a third and two thirds."""
    learning_rate: float = 0.1
    """At the start."""
    batch: int = 64
    """Images of a step."""
    measures: int = 5
    """How often a run is measured, evenly through training; at its end always."""
    checkpoint: int = 25
    """Epochs between checkpoints."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the networks' computations."""
    out: Path = Path("results/minority_collapse")
    """Folder of the results."""


PRESETS = {"quick": Config()}


def check(config: Config) -> None:
    """Raises ValueError naming the option that makes no sense."""
    for name in ("networks", "majority", "ratios", "weight_decays", "seeds"):
        values = getattr(config, name)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"--{name.replace('_', '-')} must be distinct values, got {values}")
    unknown = [name for name in config.networks if name not in NETWORKS]
    if unknown:
        raise ValueError(f"--networks must be of {', '.join(NETWORKS)}, got {', '.join(unknown)}")
    classes = DATA_SETS[config.data].num_classes
    if not all(1 <= k <= classes - 2 for k in config.majority):
        raise ValueError(f"--majority must be from 1 to {classes - 2}, got {config.majority}")
    if min(config.majority_size, config.measures, config.checkpoint) < 1:
        raise ValueError("--majority-size, --measures and --checkpoint must be positive")
    if not all(1 <= ratio <= config.majority_size for ratio in config.ratios):
        raise ValueError(f"--ratios must be from 1 to n_A = {config.majority_size}")


@dataclasses.dataclass(frozen=True)
class Job:
    """One run by its numbers."""

    network: str
    majority: int
    ratio: int
    weight_decay: float
    seed: int


def jobs_of(config: Config) -> list[Job]:
    """All runs, network by network."""
    axes = (config.networks, config.majority, config.ratios, config.weight_decays, config.seeds)
    return [Job(*values) for values in itertools.product(*axes)]


def recipe_of(config: Config, weight_decay: float) -> Recipe:
    """The paper's, over as many epochs as asked for."""
    recipe = Recipe(
        learning_rate=config.learning_rate,
        weight_decay=weight_decay,
        batch_size=config.batch,
        precision=config.precision,
    )
    return recipe.shortened(config.epochs)


def name_of(config: Config, job: Job) -> str:
    """A run's name, of all that its numbers depend on."""
    kept = ("data", "width", "majority_size", "epochs", "learning_rate", "batch", "measures")
    about = {name: getattr(config, name) for name in (*kept, "precision")}
    text = json.dumps(about | dataclasses.asdict(job), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train_job(
    config: Config, job: Job, trainer: Trainer, labels: np.ndarray, test: Images, watch: Any
) -> pd.DataFrame:
    """Measures through one run, read back where it was done before."""
    folder = config.out / RUNS / name_of(config, job)
    if (folder / "table.parquet").exists():
        return report.read_table(folder)
    classes = DATA_SETS[config.data].num_classes
    sizes = step_sizes(classes, job.majority, config.majority_size, job.ratio)
    chosen = choose_subset(labels, sizes, job.seed)
    minority = np.arange(job.majority, classes)
    when = {math.ceil(config.epochs * (i + 1) / config.measures) for i in range(config.measures)}
    report.prepare_folder(folder)
    rows: list[dict[str, Any]] = []
    if (folder / "measures.parquet").exists():
        rows = report.read_table(folder, "measures").to_dict("records")

    def look(epoch: Epoch) -> None:
        watch(len(chosen))
        finite = math.isfinite(epoch.loss)
        if epoch.epoch not in when and finite:
            return
        about = dataclasses.asdict(job) | {"minority_size": int(sizes[-1]), "epoch": epoch.epoch}
        about |= {"status": "trained" if finite else "broke down", "loss": epoch.loss}
        # A resumed run repeats the epochs since its checkpoint.
        rows[:] = [row for row in rows if row["epoch"] < epoch.epoch]
        rows.append(about | measure(trainer, epoch.weights, chosen, test, minority))
        report.write_table(pd.DataFrame(rows), folder, "measures")

    run = Run(chosen, recipe_of(config, job.weight_decay), job.seed)
    train(trainer, run, folder / "checkpoints", config.checkpoint, look)
    table = pd.DataFrame(rows)
    report.write_table(table, folder)
    forget(folder / "checkpoints")
    return table


def predict(config: Config, ends: pd.DataFrame) -> pd.DataFrame:
    """The Layer-Peeled Model at each run's own sizes and budgets."""
    classes = DATA_SETS[config.data].num_classes
    table = ends.copy()
    for majority in config.majority:
        part: Any = ends[ends["majority"] == majority]
        minority = classes - majority
        ratio = config.majority_size / part["minority_size"].to_numpy(float)
        sizes = nc.two_groups(majority, minority, ratio)
        weight, feature = (part[f"{name}_energy"].to_numpy(float) for name in ("weight", "feature"))
        solution = nc.solve_batch(nc.LayerPeeled(sizes, weight, feature))
        threshold = nc.theory.collapse_ratio(majority, minority, part["budget"].to_numpy())
        rows = part.index
        table.loc[rows, "true_ratio"] = ratio
        table.loc[rows, "predicted_cosine"] = np.asarray(solution.within_cosines)[:, 1]
        table.loc[rows, "predicted_phase"] = nc.phase(solution)
        table.loc[rows, "predicted_R0"] = np.asarray(threshold)
    table["difference"] = table["predicted_cosine"] - table["minority_cosine"]
    return table


def run(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The end of every run beside its prediction, and the measures through training."""
    known = DATA_SETS[config.data]
    train_data = load_images(config.data, "train", config.data_dir)
    test_data = load_images(config.data, "test", config.data_dir)
    jobs = jobs_of(config)
    sizes = [
        step_sizes(known.num_classes, job.majority, config.majority_size, job.ratio).sum()
        for job in jobs
    ]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]} images/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    tables = []
    with Progress(*columns) as bar:
        task = bar.add_task("images", total=int(sum(sizes)) * config.epochs, speed="–")
        seen, begin = 0, time.perf_counter()

        def watch(images: int) -> None:
            nonlocal seen
            seen += images
            speed = f"{seen / (time.perf_counter() - begin):,.0f}"
            bar.update(task, advance=images, speed=speed)

        for network in config.networks:
            side = NETWORKS[network].side or train_data.images.shape[1]
            images, test = (on_device(resized(d, side), known) for d in (train_data, test_data))
            recipe = recipe_of(config, config.weight_decays[0])
            longest = int(max(sizes))
            trainer = Trainer(network, images, known.num_classes, recipe, longest, config.width)
            for job in (job for job in jobs if job.network == network):
                tables.append(train_job(config, job, trainer, train_data.labels, test, watch))
    through = pd.concat(tables, ignore_index=True)
    return predict(
        config, pd.concat([table.iloc[[-1]] for table in tables], ignore_index=True)
    ), through


def summarise(ends: pd.DataFrame) -> pd.DataFrame:
    """One row a network, K_A and weight decay."""
    rows = []
    groups: Any = ends.groupby(["network", "majority", "weight_decay"])
    for (network, majority, decay), part in groups:
        part = part.sort_values("ratio")
        lost = part.loc[part["minority_cosine"] > 0.95, "ratio"]
        largest = part[part["ratio"] == part["ratio"].max()]
        rows.append(
            {
                "network": network,
                "K_A": majority,
                "weight decay": decay,
                "cosine at least R": f"{part['minority_cosine'].iloc[0]:.4f}",
                "cosine > 0.95 from R": f"{lost.min():g}" if len(lost) else "never",
                "predicted R0": f"{np.nanmedian(part['predicted_R0']):.4g}",
                "E at largest R": f"{largest['budget'].mean():.3g}",
                "norm variation there": f"{largest['minority_norm_variation'].mean():.1e}",
                "minority test accuracy": f"{part['test_accuracy_minority'].iloc[0]:.2f} to "
                f"{largest['test_accuracy_minority'].mean():.2f}",
                "|predicted − seen|": f"{part['difference'].abs().mean():.3f}",
            }
        )
    return pd.DataFrame(rows)


def draw(config: Config, ends: pd.DataFrame) -> Figure:
    """Minority cosines against R: networks solid, the model dotted (Fig. 2 of the paper)."""
    size = len(config.majority)
    figure, axes = report.new_figure(
        len(config.networks), size, 2.6 * size + 0.6, 2.6 * len(config.networks) + 0.6
    )
    for row, network in enumerate(config.networks):
        for column, majority in enumerate(config.majority):
            panel = axes[row, column]
            own = ends[(ends["network"] == network) & (ends["majority"] == majority)]
            for colour, (decay, part) in zip(
                report.PALETTE, own.groupby("weight_decay"), strict=False
            ):
                mean: Any = part.groupby("ratio")[["minority_cosine", "predicted_cosine"]].mean()
                label = rf"$\lambda$ = {decay:g}"
                panel.plot(part["ratio"], part["minority_cosine"], ".", color=colour, markersize=4)
                seen, model = mean["minority_cosine"], mean["predicted_cosine"]
                panel.plot(mean.index, seen, color=colour, label=f"{label}, network")
                panel.plot(mean.index, model, ":", color=colour, label=f"{label}, model")
            panel.set_xscale("log")
            panel.set_ylim(-0.4, 1.05)
            if row == 0:
                panel.set_title(f"$K_A$ = {majority}")
            if row == len(config.networks) - 1:
                panel.set_xlabel("imbalance ratio $R$")
        axes[row, 0].set_ylabel(f"{network}\ncosine of minority classifiers")
    report.legend_outside(figure, axes[0, 0], columns=4)
    return figure


def main(config: Config) -> None:
    """Trains, solves, stores, and draws from what was stored."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    ends, through = run(config)
    summary = summarise(ends)
    report.write_table(ends, config.out)
    report.write_table(through, config.out, "training")
    report.write_summary(summary, config.out)
    report.save_figure(draw(config, report.read_table(config.out)), config.out, "overlay")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    report.print_table(summary, f"Minority cosines, {config.data}")
    agreement = ends["difference"].abs().mean()
    print(f"mean |predicted − seen| cosine: {agreement:.3f}")
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
