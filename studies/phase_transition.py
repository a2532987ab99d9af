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
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.experiments import Experiment
from nc_jax.report import Bounds, Count, Interval, Positive, Several, TwoOrMore
from nc_jax.report.phases import draw_cosines, draw_phases
from nc_jax.study import Results, Study, swept
from nc_jax.sweeps import Block, Product, Values

PHASES = [phase.name.lower() for phase in nc.Phase]
GEOMETRY = ("majority_cosine", "minority_cosine", "majority_norm", "minority_norm")
OUTPUTS = ("phase", "status", "objective", "gap", *GEOMETRY)
CHUNK = 8192


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; all energies are mean squared norms."""

    num_classes: Annotated[int, Bounds(least=3)] = 10
    """K, at least 3."""
    majority: Several[Count] = (3, 5, 7)
    """K_A, the number of large classes; each value gets its own panel."""
    weight_energy: Positive = 1.0
    """E_W, the energy of the classifiers."""
    feature_energies: Several[Positive] = (5.0, 10.0)
    """E_H, the energy of the features; each value gets its own curve."""
    ratio_range: Interval = (1.0, 1e4)
    """Smallest and largest imbalance ratio R = n_A / n_B."""
    num_ratios: TwoOrMore = 401
    """Number of ratios on each curve."""
    budget_range: Interval = (0.25, 4.0)
    """Smallest and largest budget E = sqrt(E_W E_H) of the phase map."""
    map_size: tuple[TwoOrMore, TwoOrMore] = (241, 201)
    """Number of ratios and of budgets in the phase map."""
    loss: Literal["cross-entropy", "mean-squared-error"] = "cross-entropy"
    """The loss; exact thresholds are known for cross-entropy."""
    dtype: Literal["float64", "float32"] = "float64"
    """Floating-point precision of the solves."""
    out: Path = Path("results/phase_transition")
    """Folder in which the results are written."""


PRESETS = {"default": Config(), "quick": Config(num_ratios=41, map_size=(31, 21))}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "majority", most=config.num_classes - 1)


def run(config: Config) -> Results:
    """Solves all curves and all maps; one row of their tables for every K_A, budget and ratio."""
    budgets = [budget_of(config, energy) for energy in config.feature_energies]
    curves = grid_of(config, np.array(budgets), config.num_ratios)
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
    table = swept(config, experiment, blocks)
    table["feature_energy"] = table["budget"] ** 2 / config.weight_energy
    table["phase"] = pd.Categorical.from_codes(table["phase"].to_numpy(), PHASES)
    first = len(curves) * len(config.majority)
    summary = summarise(config, table.iloc[:first])
    # The map is only drawn, so single precision is enough for it.
    rounded = table.iloc[first:].reset_index(drop=True)
    rounded = rounded.astype(dict.fromkeys((*GEOMETRY, "gap"), "float32"))
    shown: list[Any] = [(f"Phase transition, K = {config.num_classes}, {config.loss}", summary)]
    if config.loss != "cross-entropy":
        shown.append("Exact thresholds R0 and R1 are known for cross-entropy only.")
    tables = {"table": table.iloc[:first], "map": rounded}
    return Results(tables, {"table": summary}, shown, f"{len(table):,} programs solved")


def grid_of(config: Config, budgets: np.ndarray, num_ratios: int) -> Product:
    """All budgets with all ratios."""
    ratios = np.geomspace(*config.ratio_range, num_ratios)
    return Product(Values("budget", budgets), Values("ratio", ratios))


def budget_of(config: Config, feature_energy: float) -> float:
    """E = √(E_W E_H)."""
    return float(np.sqrt(config.weight_energy * feature_energy))


def summarise(config: Config, curves: pd.DataFrame) -> pd.DataFrame:
    """Thresholds and the worst certificate of each curve."""
    exact, rows = thresholds(config), []
    for place, (majority, energy) in enumerate(exact):
        curve = curves.iloc[place * config.num_ratios : (place + 1) * config.num_ratios]
        row: dict[str, Any] = {"K_A": majority, "K_B": config.num_classes - majority}
        row |= {"E_H": energy, "E": budget_of(config, energy)}
        if config.loss == "cross-entropy":
            row["R0 (collapse)"], row["R1 (vanish)"] = exact[majority, energy]
        row["largest gap"] = f"{np.max(curve['gap']):.1e}"
        row["not converged"] = int(np.sum(curve["status"] != nc.Status.CONVERGED))
        rows.append(row)
    return pd.DataFrame(rows)


def thresholds(config: Config) -> dict[tuple[int, float], tuple[float, float]]:
    """The exact R0 and R1 of cross-entropy for each K_A and E_H, in the order of the curves."""
    found = {}
    for majority in config.majority:
        for energy in config.feature_energies:
            place = majority, config.num_classes - majority, budget_of(config, energy)
            exact = nc.theory.collapse_ratio(*place), nc.theory.vanish_ratio(*place)
            found[majority, energy] = float(exact[0]), float(exact[1])
    return found


def threshold_lines(config: Config, majority: int) -> pd.DataFrame:
    """The exact R0 and R1 of cross-entropy over the budgets of the map."""
    minority = config.num_classes - majority
    edge = float(nc.theory.vanish_budget(majority, minority))
    # R1 tends to infinity just below the lower edge of the map.
    near = edge * (1 - np.geomspace(1e-14, 1e-2, 200))
    budgets = np.sort(np.r_[np.linspace(*config.budget_range, 400), near[near > 0]])
    collapse = nc.theory.collapse_ratio(majority, minority, budgets)
    vanish = nc.theory.vanish_ratio(majority, minority, budgets)
    return pd.DataFrame({"budget": budgets, "R0": np.asarray(collapse), "R1": np.asarray(vanish)})


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Cosines against R (Fig. 3), and the phases over R and E."""
    exact = lines = None
    if config.loss == "cross-entropy":
        exact = thresholds(config)
        lines = {majority: threshold_lines(config, majority) for majority in config.majority}
    curves = tables["table"]
    # As given, because E²/E_W may differ from it by a rounding error.
    energies = np.repeat(config.feature_energies, config.num_ratios)
    curves = curves.assign(feature_energy=np.tile(energies, len(config.majority)))
    return {
        "cosines": draw_cosines(curves, config.num_classes, exact),
        "map": draw_phases(tables["map"], config.num_classes, lines),
    }


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
