"""Do other losses than cross-entropy keep the minority classes apart?

The imbalanced Layer-Peeled Model under every loss: mean cosine of the minority
classifiers (for the contrastive loss, which has no classifiers, of the class means)
and phase against the imbalance ratio R, and the ratio at which the minority classes
collapse under each loss. Solutions for cross-entropy and squared error are certified by
a duality gap; for the other losses the best of several restarts is shown, with the spread
of the restarts.

    python studies/loss_comparison.py
    python studies/loss_comparison.py --num-classes 10 --majority 5 --restarts 16

Time on two CPU cores: 30 s.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.solvers import phase_codes
from nc_jax.sweeps import (
    Batched,
    Block,
    Build,
    Grid,
    Product,
    Values,
    Zip,
    forget,
    tabulate,
    use_every_core,
)


def log_and_square(probability: jax.Array) -> jax.Array:
    """The g1 of the user-given pair, −log S."""
    return -jnp.log(probability)


def square(probability: jax.Array) -> jax.Array:
    """The g2 of the user-given pair, S²."""
    return probability**2


LOSSES: dict[str, Any] = {
    "cross-entropy": nc.CrossEntropy(),
    "squared error": nc.MeanSquaredError(),
    "power softmax, q = 1.5": nc.PowerSoftmax(1.5),
    "power softmax, q = 3": nc.PowerSoftmax(3.0),
    "g1 = -log S, g2 = S^2": nc.SoftmaxBased(log_and_square, square),
    "contrastive, τ = 0.5": nc.SupervisedContrastive(0.5),
    "contrastive, τ = 2": nc.SupervisedContrastive(2.0),
}
CERTIFIED = ("cross-entropy", "squared error")
PARTS = "parts"
MINORITY_LOST = ("collapsed", "vanished")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; energies are mean squared norms."""

    num_classes: int = 4
    """K, at least 3."""
    majority: int = 2
    """K_A, the number of large classes; at least two classes must be small."""
    weight_energy: float = 1.0
    """E_W, the energy of the classifiers."""
    feature_energies: tuple[float, ...] = (0.6, 5.0)
    """E_H, the energy of the features; each value gets its own column of panels."""
    ratio_range: tuple[float, float] = (1.0, 1e4)
    """Smallest and largest imbalance ratio R = n_A / n_B."""
    num_ratios: int = 33
    """Number of ratios on each curve."""
    refinements: int = 3
    """Number of refinements of a threshold's bracket; each divides it by num-ratios - 1."""
    restarts: int = 6
    """Number of random starts of every solve that has no certificate."""
    out: Path = Path("results/loss_comparison")
    """Folder in which the results are written."""
    seed: int = 0
    """Seed of the random starts."""


PRESETS = {"default": Config(), "quick": Config(num_ratios=9, refinements=1, restarts=2)}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "num_classes", least=3, most=1000)
    report.require_numbers(config, "majority", least=1, most=config.num_classes - 2)
    report.require_numbers(config, "weight_energy", "feature_energies", above=0)
    report.require_distinct(config, "feature_energies")
    report.require_range(config, "ratio_range")
    report.require_numbers(config, "num_ratios", least=2)
    report.require_numbers(config, "restarts", least=1)
    report.require_numbers(config, "refinements", "seed", least=0)


def solver_of(config: Config) -> Build:
    """The batched function of each loss: (feature_energy, ratio) to one row."""
    minority = config.num_classes - config.majority

    def build(choices: Mapping[str, Any]) -> Batched:
        loss = LOSSES[choices["loss"]]
        certified = choices["loss"] in CERTIFIED
        solver = None if certified else nc.FactoredMultiStart(restarts=config.restarts)

        def solve(columns: dict[str, jax.Array], keys: jax.Array) -> dict[str, jax.Array]:
            sizes = nc.two_groups(config.majority, minority, columns["ratio"])
            energy = columns["feature_energy"]
            model = nc.LayerPeeled(sizes, config.weight_energy, energy, loss)
            solution = nc.solve_batch(model, solver, keys)
            members = np.arange(config.majority, config.num_classes)
            measures = nc.metrics.minority_metrics(solution.classifiers, members)
            phases = phase_codes(solution)
            # The cosine of a classifier that vanishes does not exist.
            cosine = jnp.where(phases == nc.Phase.VANISHED, jnp.nan, measures.cosine)
            large = solution.classifiers[:, : config.majority]
            restarted = isinstance(solution, nc.FactoredSolution)
            return {
                "phase": phases,
                "status": solution.status,
                "minority_cosine": cosine,
                "majority_cosine": nc.metrics.mean_cosine(large),
                "minority_distance": measures.distance,
                "objective": solution.objective,
                "gap": solution.gap,
                "spread": solution.spread if restarted else jnp.zeros_like(energy),
            }

        return solve

    return build


def solve_rows(
    config: Config, build: Build, grids: Mapping[str, Grid], name: str, progress: Any = None
) -> pd.DataFrame:
    """One row for each point of each loss's grid; an interrupted run resumes from its store."""
    blocks = [Block({"loss": loss}, grid, config.num_ratios) for loss, grid in grids.items()]
    settings = dataclasses.asdict(dataclasses.replace(config, out=Path()))
    folder = config.out / PARTS / name
    table = tabulate(build, blocks, folder, str(settings), config.seed, progress)
    return table.assign(
        phase=[nc.Phase(code).name.lower() for code in table["phase"]],
        status=[nc.Status(code).name.lower() for code in table["status"]],
    )


def each_curve(table: pd.DataFrame) -> Iterator[tuple[tuple[str, float], pd.DataFrame]]:
    """For each loss and E_H, the rows of its curve."""
    for name in dict.fromkeys(table["loss"]):
        for energy in dict.fromkeys(table["feature_energy"]):
            curve: Any = table[(table["loss"] == name) & (table["feature_energy"] == energy)]
            if len(curve):
                yield (name, float(energy)), curve


def bracket(curve: pd.DataFrame) -> tuple[float, float]:
    """Ratios between which the minority collapses for good; 0 below and ∞ above the curve."""
    ratios, lost = np.asarray(curve["ratio"]), np.isin(curve["phase"], MINORITY_LOST)
    if not lost[-1]:
        return float(ratios[-1]), float("inf")
    if lost.all():
        return 0.0, float(ratios[0])
    last = int(np.flatnonzero(~lost)[-1])
    return float(ratios[last]), float(ratios[last + 1])


def thresholds(
    config: Config, build: Build, curves: pd.DataFrame
) -> dict[tuple[str, float], tuple[float, float]]:
    """The threshold bracket of each curve, by loss and E_H, narrowed round by round."""
    found = {key: bracket(curve) for key, curve in each_curve(curves)}
    for number in range(config.refinements):
        grids = {}
        for name in LOSSES:
            inside = [
                (energy, low, high)
                for (loss, energy), (low, high) in found.items()
                if loss == name and 0 < low and high < np.inf
            ]
            if inside:
                ratios = [np.geomspace(low, high, config.num_ratios) for _, low, high in inside]
                energies = np.repeat([energy for energy, _, _ in inside], config.num_ratios)
                pairs = (
                    Values("feature_energy", energies),
                    Values("ratio", np.concatenate(ratios)),
                )
                grids[name] = Zip(*pairs)
        if not grids:
            break
        finer = solve_rows(config, build, grids, f"round-{number}")
        narrowed = {key: bracket(curve) for key, curve in each_curve(finer)}
        found |= {key: pair for key, pair in narrowed.items() if 0 < pair[0] and pair[1] < np.inf}
    return found


def summary_row(
    config: Config, name: str, energy: float, curve: pd.DataFrame, threshold: tuple[float, float]
) -> dict[str, Any]:
    """The threshold of one curve, and how accurate its numbers are."""
    low, high = threshold
    exact = ""
    if name == "cross-entropy":
        budget = np.sqrt(config.weight_energy * energy)
        minority = config.num_classes - config.majority
        exact = f"{float(nc.theory.collapse_ratio(config.majority, minority, budget)):.8g}"
    return {
        "E_H": energy,
        "loss": name,
        "separated up to R": f"{low:.7g}",
        "collapsed from R": high,
        "exact R0": exact,
        "phase at the largest R": curve["phase"].iloc[-1],
        "cosine at the largest R": f"{curve['minority_cosine'].iloc[-1]:.4f}",
        "largest gap": f"{curve['gap'].max():.1e}" if name in CERTIFIED else "none",
        "largest spread of restarts": f"{curve['spread'].max():.1e}",
        "unresolved points": int(np.sum(curve["phase"] == "unresolved")),
    }


def run(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All curves, and the table of thresholds."""
    ratios = np.geomspace(*config.ratio_range, config.num_ratios)
    energies = np.array(config.feature_energies)
    grid = Product(Values("feature_energy", energies), Values("ratio", ratios))
    build = solver_of(config)
    with report.points_bar(len(grid) * len(LOSSES)) as progress:
        curves = solve_rows(config, build, dict.fromkeys(LOSSES, grid), "curves", progress)
    found = thresholds(config, build, curves)
    rows = [
        summary_row(config, name, energy, curve, found[name, energy])
        for (name, energy), curve in each_curve(curves)
    ]
    return curves, pd.DataFrame(rows).sort_values("E_H", kind="stable")


def draw(config: Config, curves: pd.DataFrame) -> Figure:
    """Mean minority cosine and largest distance between minority classifiers against R."""
    columns = len(config.feature_energies)
    figure, axes = report.new_figure(2, columns, 1 + 3.2 * columns, 5.4, share_y="row")
    styles = ("-", "-", "--", "-.", ":", "--", "-.")
    for column, energy in enumerate(config.feature_energies):
        for place, name in enumerate(LOSSES):
            curve = curves[(curves["loss"] == name) & (curves["feature_energy"] == energy)]
            look: Any = {
                "color": report.PALETTE[place % len(report.PALETTE)],
                "linestyle": styles[place % len(styles)],
            }
            axes[0, column].plot(curve["ratio"], curve["minority_cosine"], label=name, **look)
            axes[1, column].plot(curve["ratio"], curve["minority_distance"], **look)
        etf = -1 / (config.num_classes - 1)
        axes[0, column].axhline(etf, color="0.7", linewidth=0.8, zorder=0, label="simplex ETF")
        axes[0, column].set_title(f"$E_H$ = {energy:g}, $E_W$ = {config.weight_energy:g}")
        axes[1, column].set_xlabel("imbalance ratio $R = n_A/n_B$")
        axes[1, column].set_xscale("log")
    axes[0, 0].set_ylabel("mean minority cosine")
    axes[1, 0].set_ylabel("largest minority distance")
    report.legend_outside(figure, axes[0, 0], columns=3)
    return figure


def main(config: Config) -> None:
    """Runs the study, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    curves, summary = run(config)
    report.write_table(curves, config.out)
    report.write_summary(summary, config.out)
    report.save_figure(draw(config, report.read_table(config.out)), config.out, "losses")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    forget(config.out / PARTS)
    title = f"Ratio R at which {config.num_classes - config.majority} minority classes collapse"
    report.print_table(summary, f"{title}, K = {config.num_classes}")
    print(f"{wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
