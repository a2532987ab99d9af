"""How do more layers on top of free features change the geometry?

Solves the m-Layer-Peeled Model for several depths, with ReLU and as a linear head.
Balanced classes: is the geometry of the last layer still a simplex ETF, what is the rank of
the logits, and do the hidden layers collapse? Imbalanced classes: the cosine of the minority
classifiers against R at each depth, and the ratio from which on they
coincide. The problems are not convex: every number is the best of several
restarts, shown with the spread of the restarts.

    python studies/deep_layer_peeled.py
    python studies/deep_layer_peeled.py --depths 1 2 4 --restarts 32

Time on two CPU cores: 45 s.
"""

import dataclasses
from collections.abc import Mapping
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
from nc_jax.sweeps import Block, Build, Values
from nc_jax.theory import bracket

ACTIVATIONS = ("identity", "relu")
NC = ("nc1", "nc2")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; energies are mean squared norms."""

    num_classes: Annotated[int, Bounds(least=3, most=1000)] = 4
    """K, at least 3."""
    majority: Count = 2
    """K_A, the number of large classes; at least two classes must be small."""
    depths: Several[Count] = (1, 2, 3, 5)
    """m, the numbers of layers to solve; a single layer has no activation."""
    width: Count = 8
    """Dimension of the features and width of every hidden layer."""
    samples: Count = 2
    """Number of free features per class."""
    layer_energy: Positive = 0.75
    """Bound E on (1/K) ‖W_l‖² of each layer; a simplex ETF passes unchanged at (K−1)/K."""
    feature_energy: Positive = 5.0
    """E_H, the energy of the features."""
    ratio_range: Interval = (1.0, 1e3)
    """Smallest and largest imbalance ratio R = n_A / n_B; R = 1 is always solved."""
    num_ratios: TwoOrMore = 9
    """Number of ratios on each curve."""
    restarts: Count = 16
    """Number of random starts of every solve."""
    max_iterations: Count = 600
    """Largest number of steps of a restart."""
    out: Path = Path("results/deep_layer_peeled")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
    """Seed of the random starts."""


PRESETS = {
    "default": Config(),
    "quick": Config(depths=(1, 2), num_ratios=4, restarts=2, max_iterations=300),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "majority", most=config.num_classes - 2)


def head_of(config: Config) -> Build:
    """For each depth and activation, the batched function from ratio to one row."""
    minority = config.num_classes - config.majority
    solver = nc.FactoredMultiStart(
        restarts=config.restarts, stationarity=1e-5, max_iterations=config.max_iterations
    )

    def model(choices: Mapping[str, Any], columns: Mapping[str, jax.Array]) -> nc.DeepLayerPeeled:
        return nc.DeepLayerPeeled(
            nc.two_groups(config.majority, minority, columns["ratio"]),
            choices["depth"],
            layer_energies=np.full(choices["depth"], config.layer_energy),
            feature_energy=config.feature_energy,
            activation=choices["activation"],
            widths=config.width,
            samples=config.samples,
        )

    def outputs(solution: nc.FactoredSolution) -> dict[str, jax.Array]:
        members = np.arange(config.majority, config.num_classes)
        measures = nc.metrics.minority_metrics(solution.classifiers, members)
        row = {
            "phase": phase_codes(solution),
            "status": solution.status,
            "minority_cosine": measures.cosine,
            "minority_distance": measures.distance,
            "objective": solution.objective,
            "residual": solution.residual,
            "spread": solution.spread,
            "worst_restart": jnp.max(solution.restart_objectives, axis=-1),
            "restarts_at_best": solution.restarts_within(1e-6),
        }
        return row | jax.vmap(lambda one: geometry(config, one))(solution)

    return solved(model, outputs, lambda _: solver)


def geometry(config: Config, solution: nc.FactoredSolution) -> dict[str, jax.Array]:
    """Rank and NC2 of one solution's logits, NC1 and NC2 of its layers; NaN if undefined."""
    logits = solution.logits - jnp.mean(solution.logits, axis=0)
    singular = jnp.linalg.svd(logits, compute_uv=False)
    row = {"rank": jnp.sum(singular > 1e-4 * singular[0]), "nc2": nc.metrics.etf_distance(logits)}
    layers = solution.hidden_features()
    found = nc.metrics.feedforward_metrics(layers, solution.labels, config.num_classes)
    for place in range(max(config.depths)):
        own = found if place < len(layers) else None
        row[f"nc1_{place}"] = jnp.full((), jnp.nan) if own is None else own.pfc1[place]
        row[f"nc2_{place}"] = jnp.full((), jnp.nan) if own is None else own.pfc2[place]
    return row


def summary_row(config: Config, curve: pd.DataFrame) -> dict[str, Any]:
    """Geometry of the balanced solution, layer by layer, and where the minority collapses."""
    balanced = curve[curve["ratio"] == 1].iloc[0]
    lost = np.isin(curve["phase"], ("collapsed", "vanished"))
    by_layer = [balanced[[f"{name}_{i}" for i in range(balanced["depth"])]] for name in NC]
    return {
        "m": balanced["depth"],
        "activation": balanced["activation"],
        "objective": f"{balanced['objective']:.6g}",
        "spread of restarts": f"{balanced['spread']:.1e}",
        "restarts at the best": f"{balanced['restarts_at_best']}/{config.restarts}",
        "status": balanced["status"],
        "rank of logits": balanced["rank"],
        "NC2 of logits": f"{balanced['nc2']:.1e}",
        "largest NC1": f"{max(by_layer[0]):.0e}",
        "NC2 by layer": " ".join(f"{value:.2f}" for value in by_layer[1]),
        "minority collapses at R": shown(bracket(curve["ratio"], lost)),
    }


def shown(ratios: tuple[float, float]) -> str:
    """The two ratios between which the minority collapses for good."""
    low, high = ratios
    if high == np.inf:
        return f"> {low:.4g}"
    return f"< {high:.4g}" if low == -np.inf else f"{low:.4g} to {high:.4g}"


def run(config: Config) -> Results:
    """All curves (each includes R = 1), and one summary row for each depth and activation."""
    curve = np.geomspace(*config.ratio_range, config.num_ratios)
    ratios = Values("ratio", np.union1d(1.0, curve))
    blocks = [
        Block({"depth": depth, "activation": activation}, ratios, len(ratios))
        for depth in config.depths
        for activation in (ACTIVATIONS if depth > 1 else ACTIVATIONS[:1])
    ]
    table = with_names(swept(config, head_of(config), blocks))
    heads = table.groupby(["depth", "activation"], sort=False)
    summary = pd.DataFrame([summary_row(config, curve) for _, curve in heads])
    title = f"m-Layer-Peeled Models, K = {config.num_classes}, balanced"
    return Results({"table": table}, {"table": summary}, [(title, summary)])


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Minority cosine against R, and the objectives of the best and the worst restart."""
    curves = tables["table"]
    figure, axes = report.new_figure(2, 2, 7.2, 5.2, share_y="row")
    for column, activation in enumerate(ACTIVATIONS):
        for place, depth in enumerate(config.depths):
            kind = "identity" if depth == 1 else activation
            curve: Any = curves[(curves["depth"] == depth) & (curves["activation"] == kind)]
            colour = report.PALETTE[place % len(report.PALETTE)]
            top, bottom = axes[0, column], axes[1, column]
            shown = curve["minority_cosine"].where(curve["phase"] != "vanished")
            top.plot(curve["ratio"], shown, ".-", color=colour, label=f"m = {depth}")
            bottom.plot(curve["ratio"], curve["objective"], ".-", color=colour)
            band = curve["ratio"], curve["objective"], curve["worst_restart"]
            bottom.fill_between(*band, color=colour, alpha=0.2, linewidth=0)
        axes[0, column].set_title("linear head" if activation == "identity" else "ReLU head")
        etf = -1 / (config.num_classes - 1)
        axes[0, column].axhline(etf, color="0.7", linewidth=0.8, label="simplex ETF")
        axes[1, column].set_xlabel("imbalance ratio $R = n_A/n_B$")
        axes[1, column].set_xscale("log")
    axes[0, 0].set_ylabel("mean minority cosine")
    axes[1, 0].set_ylabel("objective, best to worst restart")
    report.legend_outside(figure, axes[0, 0], columns=len(config.depths) + 1)
    return {"depths": figure}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
