"""At which imbalance ratio do the minority classes of the Layer-Peeled Model collapse?

Reproduces Fig. 3 of Fang, He, Long, Su (PNAS 2021) with higher accuracy: the cosines of
the minority and of the majority classifiers against the imbalance ratio R; the
exact ratios R0, at which the minority classifiers coincide, and R1, at which they
vanish; and a map of the phases over R and the budget E. Every number comes
with a duality gap.

    python studies/phase_transition.py
    python studies/phase_transition.py --num-classes 20 --majority 5 10 15

Time on two CPU cores: 15 s.
"""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.experiments import Experiment
from nc_jax.sweeps import Block, Product, Values, forget, tabulate, use_every_core

PHASES = [phase.name.lower() for phase in nc.Phase]
GEOMETRY = ("majority_cosine", "minority_cosine", "majority_norm", "minority_norm")
OUTPUTS = ("phase", "status", "objective", "gap", *GEOMETRY)
PARTS = "parts"
CHUNK = 8192
PHASE_COLOURS = ("#DCEBF7", "#56B4E9", "#004D80", "#999999")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; all energies are mean squared norms."""

    num_classes: int = 10
    """K, at least 3."""
    majority: tuple[int, ...] = (3, 5, 7)
    """K_A, the number of large classes; each value gets its own panel."""
    weight_energy: float = 1.0
    """E_W, the energy of the classifiers."""
    feature_energies: tuple[float, ...] = (5.0, 10.0)
    """E_H, the energy of the features; each value gets its own curve."""
    ratio_range: tuple[float, float] = (1.0, 1e4)
    """Smallest and largest imbalance ratio R = n_A / n_B."""
    num_ratios: int = 401
    """Number of ratios on each curve."""
    budget_range: tuple[float, float] = (0.25, 4.0)
    """Smallest and largest budget E = sqrt(E_W E_H) of the phase map."""
    map_size: tuple[int, int] = (241, 201)
    """Number of ratios and of budgets in the phase map."""
    loss: Literal["cross-entropy", "mean-squared-error"] = "cross-entropy"
    """The loss; exact thresholds are known for cross-entropy."""
    dtype: Literal["float64", "float32"] = "float64"
    """Floating-point precision of the solves."""
    out: Path = Path("results/phase_transition")
    """Folder in which the results are written."""
    seed: int = 0
    """Recorded with the results; the solvers of this study are deterministic."""


PRESETS = {"default": Config(), "quick": Config(num_ratios=41, map_size=(31, 21))}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "num_classes", least=3)
    report.require_numbers(config, "majority", least=1, most=config.num_classes - 1)
    report.require_numbers(config, "weight_energy", "feature_energies", above=0)
    report.require_distinct(config, "majority", "feature_energies")
    report.require_range(config, "ratio_range", "budget_range")
    report.require_numbers(config, "num_ratios", "map_size", least=2)
    report.require_numbers(config, "seed", least=0)


def run(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Solves all curves and all maps; one row of their tables for every K_A, budget and ratio.

    An interrupted run resumes from its store.
    """
    budgets = np.sqrt(config.weight_energy * np.asarray(config.feature_energies))
    curves = grid_of(config, budgets, config.num_ratios)
    maps = grid_of(
        config, np.linspace(*config.budget_range, config.map_size[1]), config.map_size[0]
    )
    fixed = {"num_classes": config.num_classes, "weight_energy": config.weight_energy}
    experiment = Experiment(loss=config.loss, dtype=config.dtype, fixed=fixed, outputs=OUTPUTS)
    # In one sweep, in which curves and maps share their programs.
    blocks = [
        Block({"majority": majority}, grid, CHUNK)
        for grid in (curves, maps)
        for majority in config.majority
    ]
    with report.points_bar(sum(len(block.grid) for block in blocks)) as progress:
        folder, settings = config.out / PARTS, experiment.spec()
        table = tabulate(experiment, blocks, folder, settings, config.seed, progress)
    table["feature_energy"] = table["budget"] ** 2 / config.weight_energy
    table["phase"] = pd.Categorical.from_codes(table["phase"].to_numpy(), PHASES)
    first = len(curves) * len(config.majority)
    return table.iloc[:first], table.iloc[first:].reset_index(drop=True)


def grid_of(config: Config, budgets: np.ndarray, num_ratios: int) -> Product:
    """All budgets with all ratios."""
    ratios = np.geomspace(*config.ratio_range, num_ratios)
    return Product(Values("budget", budgets), Values("ratio", ratios))


def summarise(config: Config, curves: pd.DataFrame) -> pd.DataFrame:
    """Thresholds and the worst certificate of each curve."""
    rows = []
    for majority, energy, curve in each_curve(config, curves):
        row: dict[str, Any] = {"K_A": majority, "K_B": config.num_classes - majority}
        row |= {"E_H": energy, "E": budget_of(config, energy)}
        if config.loss == "cross-entropy":
            row["R0 (collapse)"], row["R1 (vanish)"] = thresholds(config, majority, row["E"])
        row["largest gap"] = f"{np.max(curve['gap']):.1e}"
        row["not converged"] = int(np.sum(curve["status"] != nc.Status.CONVERGED))
        rows.append(row)
    return pd.DataFrame(rows)


def budget_of(config: Config, feature_energy: float) -> float:
    """E = √(E_W E_H)."""
    return float(np.sqrt(config.weight_energy * feature_energy))


def each_curve(config: Config, curves: pd.DataFrame) -> Iterator[tuple[int, float, pd.DataFrame]]:
    """K_A, E_H and the rows of each curve, in the order of the config."""
    size = config.num_ratios
    pairs = itertools.product(config.majority, config.feature_energies)
    for position, (majority, energy) in enumerate(pairs):
        yield majority, energy, curves.iloc[position * size : (position + 1) * size]


def thresholds(config: Config, majority: int, budget: float) -> tuple[float, float]:
    """The exact R0 and R1 of cross-entropy."""
    minority = config.num_classes - majority
    collapse = nc.theory.collapse_ratio(majority, minority, budget)
    return float(collapse), float(nc.theory.vanish_ratio(majority, minority, budget))


def draw_cosines(config: Config, curves: pd.DataFrame) -> Figure:
    """Cosines against R, one panel for each K_A and one colour for each E_H (Fig. 3)."""
    panels = len(config.majority)
    figure, axes = report.new_figure(2, panels, 2.6 * panels + 0.6, 4.6)
    colours = dict(zip(config.feature_energies, itertools.cycle(report.PALETTE), strict=False))
    column_of = {majority: column for column, majority in enumerate(config.majority)}
    for majority, energy, curve in each_curve(config, curves):
        pair = axes[:, column_of[majority]]
        for axis, measure in zip(pair, ("minority_cosine", "majority_cosine"), strict=True):
            line = {"color": colours[energy], "label": f"$E_H$ = {energy:g}"}
            axis.plot(curve["ratio"], curve[measure], **line)
        mark_thresholds(config, pair, majority, energy, colours[energy])
    for axis in axes.flat:
        level = -1 / (config.num_classes - 1)
        axis.axhline(level, color="0.55", linewidth=0.9, linestyle=":", label="ETF, −1/(K−1)")
        axis.set_xscale("log")
        axis.set_xlim(config.ratio_range)
        axis.set_ylim(-0.55, 1.05 + 0.1 * len(config.feature_energies))
    for majority, column in column_of.items():
        axes[0, column].set_title(f"$K_A$ = {majority} of {config.num_classes} classes are large")
        axes[1, column].set_xlabel("imbalance ratio $R = n_A/n_B$")
    axes[0, 0].set_ylabel("cosine of minority\nclassifiers")
    axes[1, 0].set_ylabel("cosine of majority\nclassifiers")
    first = axes[0, 0]
    if config.loss == "cross-entropy":
        first.plot([], [], color="0.3", linewidth=0.9, linestyle="--", label="$R_0$, collapse")
        first.plot([], [], color="0.3", linewidth=5, alpha=0.25, label="vanished: no cosine")
    report.legend_outside(figure, first, columns=5)
    return figure


def mark_thresholds(
    config: Config, pair: np.ndarray, majority: int, energy: float, colour: str
) -> None:
    """R0 as a dashed line; a band where the minority classifiers vanish and have no cosine."""
    if config.loss != "cross-entropy":
        return
    low, high = config.ratio_range
    collapse, vanish = thresholds(config, majority, budget_of(config, energy))
    if low < collapse < high:
        for axis in pair:
            axis.axvline(collapse, color=colour, linewidth=0.9, linestyle="--")
    if vanish < high:
        # Each curve gets its own height, so that two bands can be told apart.
        height = 1.08 + 0.09 * config.feature_energies.index(energy)
        band = {"color": colour, "linewidth": 5, "alpha": 0.35, "solid_capstyle": "butt"}
        pair[0].plot([max(low, vanish), high], [height, height], **band)


def draw_map(config: Config, maps: pd.DataFrame) -> Figure:
    """Phases over R and E, with the exact thresholds drawn on top."""
    panels = len(config.majority)
    figure, axes = report.new_figure(1, panels, 2.6 * panels + 0.6, 3.2)
    shape = config.map_size[::-1]
    for axis, majority in zip(axes[0], config.majority, strict=True):
        panel = maps.loc[maps["majority"] == majority]
        ratios, budgets = (panel[name].to_numpy().reshape(shape) for name in ("ratio", "budget"))
        codes = panel["phase"].cat.codes.to_numpy().reshape(shape)
        axis.pcolormesh(
            ratios,
            budgets,
            codes,
            cmap=ListedColormap(PHASE_COLOURS),
            vmin=-0.5,
            vmax=len(PHASES) - 0.5,
            shading="nearest",
            rasterized=True,
        )
        if config.loss == "cross-entropy":
            minority = config.num_classes - majority
            edge = float(nc.theory.vanish_budget(majority, minority))
            # R1 tends to infinity just below the lower edge of the map.
            near = edge * (1 - np.geomspace(1e-14, 1e-2, 200))
            budgets = np.sort(np.r_[np.linspace(*config.budget_range, 400), near[near > 0]])
            exact = {
                ("$R_0$, exact", "-"): nc.theory.collapse_ratio(majority, minority, budgets),
                ("$R_1$, exact", "--"): nc.theory.vanish_ratio(majority, minority, budgets),
            }
            for (label, line), ratios in exact.items():
                ratios = np.where(np.isfinite(ratios), ratios, np.nan)
                axis.plot(ratios, budgets, color="#D55E00", linestyle=line, label=label)
        axis.set_xscale("log")
        axis.set_xlim(config.ratio_range)
        axis.set_ylim(config.budget_range)
        axis.set_xlabel("imbalance ratio $R = n_A/n_B$")
        axis.set_title(f"$K_A$ = {majority} of {config.num_classes} classes are large")
    axes[0, 0].set_ylabel(r"budget $E = \sqrt{E_W E_H}$")
    first = axes[0, 0]
    for phase in [name for name in PHASES if name in set(maps["phase"])]:
        colour = PHASE_COLOURS[PHASES.index(phase)]
        first.fill([], [], facecolor=colour, edgecolor="0.6", linewidth=0.5, label=phase)
    report.legend_outside(figure, first, columns=6)
    return figure


def main(config: Config) -> None:
    """Runs the study, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", config.dtype == "float64")
    curves, maps = run(config)
    summary = summarise(config, curves)
    report.write_table(curves, config.out)
    # The map is only drawn, so single precision is enough for it.
    rounded = maps.astype(dict.fromkeys((*GEOMETRY, "gap"), "float32"))
    report.write_table(rounded, config.out, "map")
    report.write_summary(summary, config.out)
    report.save_figure(draw_cosines(config, report.read_table(config.out)), config.out, "cosines")
    report.save_figure(draw_map(config, report.read_table(config.out, "map")), config.out, "map")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    forget(config.out / PARTS)
    report.print_table(summary, f"Phase transition, K = {config.num_classes}, {config.loss}")
    if config.loss != "cross-entropy":
        print("Exact thresholds R0 and R1 are known for cross-entropy only.")
    print(
        f"{len(curves) + len(maps):,} programs solved, {wall_time:.1f} s; results in {config.out}/"
    )


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
