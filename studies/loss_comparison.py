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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.experiments import solved
from nc_jax.report import Bounds, Count, Interval, NonNegative, Positive, Several, TwoOrMore
from nc_jax.solvers import phase_codes
from nc_jax.study import Results, Study, swept, with_names
from nc_jax.sweeps import Block, Build, Product, Values, Zip
from nc_jax.theory import Bracket, bracket, narrow_all

LOSSES: dict[str, Any] = {
    "cross-entropy": nc.CrossEntropy(),
    "squared error": nc.MeanSquaredError(),
    "power softmax, q = 1.5": nc.PowerSoftmax(1.5),
    "power softmax, q = 3": nc.PowerSoftmax(3.0),
    "g1 = -log S, g2 = S^2": nc.SoftmaxBased(lambda s: -jnp.log(s), jnp.square),
    "contrastive, τ = 0.5": nc.SupervisedContrastive(0.5),
    "contrastive, τ = 2": nc.SupervisedContrastive(2.0),
}
CERTIFIED = ("cross-entropy", "squared error")
MINORITY_LOST = ("collapsed", "vanished")
# A loss and E_H.
Curve = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; energies are mean squared norms."""

    num_classes: Annotated[int, Bounds(least=3, most=1000)] = 4
    """K, at least 3."""
    majority: Count = 2
    """K_A, the number of large classes; at least two classes must be small."""
    weight_energy: Positive = 1.0
    """E_W, the energy of the classifiers."""
    feature_energies: Several[Positive] = (0.6, 5.0)
    """E_H, the energy of the features; each value gets its own column of panels."""
    ratio_range: Interval = (1.0, 1e4)
    """Smallest and largest imbalance ratio R = n_A / n_B."""
    num_ratios: TwoOrMore = 33
    """Number of ratios on each curve."""
    refinements: NonNegative[int] = 3
    """Number of refinements of a threshold's bracket; each divides it by num-ratios - 1."""
    restarts: Count = 6
    """Number of random starts of every solve that has no certificate."""
    out: Path = Path("results/loss_comparison")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
    """Seed of the random starts."""


PRESETS = {"default": Config(), "quick": Config(num_ratios=9, refinements=1, restarts=2)}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "majority", most=config.num_classes - 2)


def solver_of(config: Config) -> Build:
    """The batched function of each loss: (feature_energy, ratio) to one row."""

    def model(choices: Mapping[str, Any], columns: Mapping[str, jax.Array]) -> nc.LayerPeeled:
        minority = config.num_classes - config.majority
        sizes = nc.two_groups(config.majority, minority, columns["ratio"])
        energies = config.weight_energy, columns["feature_energy"]
        return nc.LayerPeeled(sizes, *energies, LOSSES[choices["loss"]])

    def outputs(solution: Any) -> dict[str, jax.Array]:
        members = np.arange(config.majority, config.num_classes)
        measures = nc.metrics.minority_metrics(solution.classifiers, members)
        phases = phase_codes(solution)
        return {
            "phase": phases,
            "status": solution.status,
            # The cosine of a classifier that vanishes does not exist.
            "minority_cosine": jnp.where(phases == nc.Phase.VANISHED, jnp.nan, measures.cosine),
            "majority_cosine": nc.metrics.mean_cosine(solution.classifiers[:, : config.majority]),
            "minority_distance": measures.distance,
            "objective": solution.objective,
            "gap": solution.gap,
            "spread": getattr(solution, "spread", jnp.zeros_like(solution.objective)),
        }

    def solver(choices: Mapping[str, Any]) -> Any:
        certified = choices["loss"] in CERTIFIED
        return None if certified else nc.FactoredMultiStart(restarts=config.restarts)

    return solved(model, outputs, solver)


def each_curve(table: pd.DataFrame) -> Iterator[tuple[tuple[str, float], pd.DataFrame]]:
    """For each loss and E_H, the rows of its curve."""
    for name in dict.fromkeys(table["loss"]):
        for energy in dict.fromkeys(table["feature_energy"]):
            curve: Any = table[(table["loss"] == name) & (table["feature_energy"] == energy)]
            if len(curve):
                yield (name, float(energy)), curve


def lost(curve: pd.DataFrame) -> np.ndarray:
    """Whether the minority classes are not separated, at each ratio."""
    return np.isin(curve["phase"], MINORITY_LOST)


def thresholds(config: Config, build: Build, curves: pd.DataFrame) -> dict[Curve, Bracket]:
    """The ratios between which the minority collapses for good, narrowed round by round."""
    found = {key: bracket(curve["ratio"], lost(curve)) for key, curve in each_curve(curves)}
    rounds = iter(range(config.refinements))

    def lost_at(inner: Mapping[Curve, np.ndarray]) -> dict[Curve, np.ndarray]:
        blocks = []
        for name in LOSSES:
            own = {energy: ratios for (loss, energy), ratios in inner.items() if loss == name}
            if own:
                energies = np.repeat(list(own), [len(ratios) for ratios in own.values()])
                ratios = Values("ratio", np.concatenate(list(own.values())))
                grid = Zip(Values("feature_energy", energies), ratios)
                blocks.append(Block({"loss": name}, grid, config.num_ratios))
        finer = swept(config, build, blocks, f"round-{next(rounds)}", bar=False)
        return {key: lost(curve) for key, curve in each_curve(with_names(finer))}

    inner = config.num_ratios - 2
    return narrow_all(found, lost_at, inner, config.refinements, logarithmic=True)


def summary_row(
    config: Config, name: str, energy: float, curve: pd.DataFrame, threshold: Bracket
) -> dict[str, Any]:
    """The threshold of one curve, and how accurate its numbers are."""
    low, high = max(threshold.low, 0.0), threshold.high
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


def run(config: Config) -> Results:
    """All curves, and the table of thresholds."""
    ratios = np.geomspace(*config.ratio_range, config.num_ratios)
    energies = np.array(config.feature_energies)
    grid = Product(Values("feature_energy", energies), Values("ratio", ratios))
    build = solver_of(config)
    blocks = [Block({"loss": loss}, grid, config.num_ratios) for loss in LOSSES]
    curves = with_names(swept(config, build, blocks, "curves"))
    found = thresholds(config, build, curves)
    rows = [
        summary_row(config, name, energy, curve, found[name, energy])
        for (name, energy), curve in each_curve(curves)
    ]
    summary = pd.DataFrame(rows).sort_values("E_H", kind="stable")
    title = f"Ratio R at which {config.num_classes - config.majority} minority classes collapse"
    shown = [(f"{title}, K = {config.num_classes}", summary)]
    return Results({"table": curves}, {"table": summary}, shown)


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Mean minority cosine and largest distance between minority classifiers against R."""
    curves = tables["table"]
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
    return {"losses": figure}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
