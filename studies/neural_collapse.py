"""Do balanced surrogates reach the collapsed optimum that theory gives, from random starts?

Solves balanced Layer-Peeled Models and unconstrained feature models under every loss and
lists how far the solution's features and classifiers are from collapse (NC1–NC3), its
objective compared with the theoretical optimum, and how many random restarts reached
it. Rows where Theorem 4's condition on the budget holds are marked. A second table
treats Proposition 2: with an ℓ_q norm in the constraint on the features there is a better
solution than the best simplex ETF, and the table shows by how much. The preset
"wide" adds three more shapes.

    python studies/neural_collapse.py
    python studies/neural_collapse.py --preset wide
    python studies/neural_collapse.py --shapes 10 12 3 --restarts 8

Time on two CPU cores: 1 minute; nearly all of it is compilation. With --preset wide 150 s.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax.experiments import solved
from nc_jax.experiments.norms import CERTIFICATES, norm_points, norm_rows
from nc_jax.report import AboveOne, Count, NonNegative, Positive, Several
from nc_jax.report.optima import METRICS, draw_optima, summarise_optima
from nc_jax.study import Results, Study, swept
from nc_jax.sweeps import Block, Build, Product, Values


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; energies are mean squared norms."""

    shapes: Several[tuple[int, int, int]] = ((4, 4, 2),)
    """K, p, n of each balanced problem: classes, dimensions, samples per class."""
    budgets: Several[Positive] = (1.0, 2.0, 5.0)
    """E = sqrt(E_W E_H) of the Layer-Peeled Models, with E_W = 1; E_H for the contrastive loss."""
    decays: Several[Positive] = (0.02, 0.2)
    """c = K sqrt(n λ_W λ_H) of the unconstrained features; at c = 1 the solution becomes zero."""
    powers: Several[AboveOne] = (1.5, 3.0)
    """q of the power softmax losses."""
    temperatures: Several[Positive] = (0.5, 1.0)
    """τ of the contrastive losses."""
    norms: Several[AboveOne] = (1.2, 1.5, 3.0, 4.0, 8.0)
    """q of the norm of the features in Proposition 2."""
    restarts: Count = 4
    """Number of random starts of every solve."""
    out: Path = Path("results/neural_collapse")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
    """Seed of the random starts."""


PRESETS = {
    "default": Config(),
    "wide": Config(shapes=((3, 5, 1), (4, 4, 2), (6, 9, 3), (10, 16, 2))),
    "quick": Config(shapes=((3, 3, 2),), budgets=(2.0,), decays=(0.2,), norms=(4.0,), restarts=2),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    for classes, dimension, samples in config.shapes:
        if classes < 3 or dimension < classes or samples < 1:
            raise ValueError(
                f"--shapes must be K ≥ 3, p ≥ K and n ≥ 1, got {classes} {dimension} {samples}"
            )


def losses(config: Config) -> dict[str, tuple[Any, list[float]]]:
    """For each family of losses: how to build one, and its parameters (a zero if it has none)."""
    return {
        "cross-entropy": (lambda _: nc.CrossEntropy(), [0.0]),
        "squared error": (lambda _: nc.MeanSquaredError(), [0.0]),
        "power softmax": (nc.PowerSoftmax, list(config.powers)),
        "-log S + S^2": (lambda _: nc.SoftmaxBased(lambda s: -jnp.log(s), jnp.square), [0.0]),
        "contrastive": (nc.SupervisedContrastive, list(config.temperatures)),
    }


def family_of(config: Config) -> Build:
    """The batched function of a model, a family of losses and a shape."""

    def model(choices: Mapping[str, Any], columns: Mapping[str, jax.Array]) -> Any:
        classes, samples = choices["K"], choices["n"]
        width = {"dimension": choices["p"], "samples": samples}
        make, _ = losses(config)[choices["family"]]
        loss, strength = make(columns["parameter"]), columns["E or c"]
        sizes = np.full(classes, float(samples))
        if choices["model"] == "LPM":
            # The contrastive loss has no classifiers: the budget is that of the features.
            energy = strength if choices["family"] == "contrastive" else strength**2
            return nc.LayerPeeled(sizes, 1.0, energy, loss, **width)
        decay = strength / (classes * np.sqrt(samples))
        return nc.UnconstrainedFeatures(sizes, decay, decay, loss=loss, **width)

    def outputs(solution: nc.FactoredSolution) -> dict[str, jax.Array]:
        measures = jax.vmap(nc.metrics.collapse_metrics)(solution)
        ends = solution.restart_objectives
        return {
            **{name: getattr(solution, name) for name in CERTIFICATES},
            **{name: getattr(measures, name) for name in METRICS},
            **{f"restart {place}": ends[:, place] for place in range(config.restarts)},
        }

    return solved(model, outputs, lambda _: nc.FactoredMultiStart(restarts=config.restarts))


def known_value(loss: Any, model: str, classes: int, samples: int, strength: float) -> float:
    """The theoretical optimum, or NaN if no theorem gives one."""
    if model == "LPM":
        return float(nc.theory.balanced_objective(classes, samples, strength, loss))
    decay = strength / (classes * np.sqrt(samples))
    return float(nc.theory.unconstrained_objective(classes, samples, decay, loss))


def compared(config: Config, row: Mapping[str, Any]) -> dict[str, Any]:
    """A solved point together with the theoretical values for it."""
    model, strength, parameter = row["model"], row["E or c"], row["parameter"]
    make, _ = losses(config)[row["family"]]
    loss = make(parameter)
    known = known_value(loss, model, row["K"], row["n"], strength)
    ends = np.array([row[f"restart {place}"] for place in range(config.restarts)])
    reached = ends <= known + 1e-6 * abs(known) + 1e-12
    condition = None
    if model == "LPM" and isinstance(loss, nc.PowerSoftmax | nc.SoftmaxBased):
        condition = bool(nc.theory.softmax_condition(row["K"], strength))
    return {
        "model": model,
        "loss": f"{row['family']}, {parameter:g}" if parameter else row["family"],
        **{name: row[name] for name in ("K", "p", "n", "E or c")},
        "condition": condition,
        "status": nc.Status(row["status"]).name.lower(),
        "objective": row["objective"],
        "theory": known,
        # A squared error may be fitted exactly; then the absolute excess is used.
        "excess": (row["objective"] - known) / (known or 1.0),
        "reached": int(np.sum(reached)) if np.isfinite(known) else -1,
        "restarts": config.restarts,
        **{name: row[name] for name in ("spread", "gap", *METRICS)},
    }


def run_norms(config: Config) -> pd.DataFrame:
    """Proposition 2: the best point found compared with the best simplex ETF."""
    norms = np.array(config.norms)
    block = Block({}, Values("q", norms), len(norms))
    points = swept(config, norm_points(2 * config.restarts), [block], "norms", bar=False)
    return norm_rows(points, jax.random.key(config.seed))


def run(config: Config) -> Results:
    """The table of theorems and that of Proposition 2."""
    blocks = []
    for classes, dimension, samples in config.shapes:
        for model, strengths in (("LPM", config.budgets), ("UFM", config.decays)):
            for family, (_, parameters) in losses(config).items():
                shape = {"K": classes, "p": dimension, "n": samples}
                grid = Product(Values("parameter", parameters), Values("E or c", strengths))
                blocks.append(Block({"model": model, "family": family} | shape, grid, len(grid)))
    points = swept(config, family_of(config), blocks, "theorems").to_dict("records")
    table, norms = pd.DataFrame([compared(config, row) for row in points]), run_norms(config)
    summary = summarise_optima(table)
    shown = [
        ("Balanced optima compared with theory", summary),
        ("Proposition 2: an l_q norm of the features, K = p = 3", norms),
    ]
    tables = {"table": table, "norms": norms}
    return Results(tables, {"table": summary, "norms": norms}, shown, f"{len(table)} programs")


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Distances from collapse and from the optimum; Proposition 2."""
    return {"collapse": draw_optima(tables["table"], tables["norms"])}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
