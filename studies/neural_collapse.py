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
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.solvers.quasi_newton import Settings, minimise_lanes
from nc_jax.sweeps import Batched, Block, Build, Product, Values, forget, tabulate, use_every_core


def log_and_square(probability: jax.Array) -> jax.Array:
    """The g1 of the user-given pair, −log S."""
    return -jnp.log(probability)


def square(probability: jax.Array) -> jax.Array:
    """The g2 of the user-given pair, S²."""
    return probability**2


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study; energies are mean squared norms."""

    shapes: tuple[tuple[int, int, int], ...] = ((4, 4, 2),)
    """K, p, n of each balanced problem: classes, dimensions, samples per class."""
    budgets: tuple[float, ...] = (1.0, 2.0, 5.0)
    """E = sqrt(E_W E_H) of the Layer-Peeled Models, with E_W = 1; E_H for the contrastive loss."""
    decays: tuple[float, ...] = (0.02, 0.2)
    """c = K sqrt(n λ_W λ_H) of the unconstrained features; at c = 1 the solution becomes zero."""
    powers: tuple[float, ...] = (1.5, 3.0)
    """q of the power softmax losses."""
    temperatures: tuple[float, ...] = (0.5, 1.0)
    """τ of the contrastive losses."""
    norms: tuple[float, ...] = (1.2, 1.5, 3.0, 4.0, 8.0)
    """q of the norm of the features in Proposition 2."""
    restarts: int = 4
    """Number of random starts of every solve."""
    out: Path = Path("results/neural_collapse")
    """Folder in which the results are written."""
    seed: int = 0
    """Seed of the random starts."""


PRESETS = {
    "default": Config(),
    "wide": Config(shapes=((3, 5, 1), (4, 4, 2), (6, 9, 3), (10, 16, 2))),
    "quick": Config(shapes=((3, 3, 2),), budgets=(2.0,), decays=(0.2,), norms=(4.0,), restarts=2),
}
METRICS = ("nc1_quotient", "nc2_etf", "nc3_difference")
CERTIFICATES = ("status", "objective", "gap", "spread")
PARTS = "parts"


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    for classes, dimension, samples in config.shapes:
        if classes < 3 or dimension < classes or samples < 1:
            raise ValueError(
                f"--shapes must be K ≥ 3, p ≥ K and n ≥ 1, got {classes} {dimension} {samples}"
            )
    swept = ("budgets", "decays", "powers", "temperatures", "norms")
    report.require_distinct(config, "shapes", *swept)
    report.require_numbers(config, "budgets", "decays", "temperatures", above=0)
    report.require_numbers(config, "powers", "norms", above=1)
    report.require_numbers(config, "restarts", least=1)
    report.require_numbers(config, "seed", least=0)


def losses(config: Config) -> dict[str, tuple[Any, list[float]]]:
    """For each family of losses: how to build one, and its parameters (a zero if it has none)."""
    return {
        "cross-entropy": (lambda _: nc.CrossEntropy(), [0.0]),
        "squared error": (lambda _: nc.MeanSquaredError(), [0.0]),
        "power softmax": (nc.PowerSoftmax, list(config.powers)),
        "-log S + S^2": (lambda _: nc.SoftmaxBased(log_and_square, square), [0.0]),
        "contrastive": (nc.SupervisedContrastive, list(config.temperatures)),
    }


def theoretical_value(
    loss: nc.Loss, model: str, shape: tuple[int, int, int], strength: float
) -> float:
    """The known optimum, or NaN if no theorem gives one."""
    classes, _, samples = shape
    if isinstance(loss, nc.SupervisedContrastive):
        if model == "UFM":
            return np.nan
        return float(nc.theory.contrastive_optimum(classes, samples, strength, loss.temperature))
    if model == "LPM":
        return float(nc.theory.balanced_optimum(classes, strength, loss).objective)
    decay = strength / (classes * np.sqrt(samples))
    if isinstance(loss, nc.CrossEntropy):
        return float(nc.theory.unconstrained_optimum(classes, samples, decay, decay).objective)
    if isinstance(loss, nc.MeanSquaredError):
        sizes = np.full(classes, float(samples))
        return float(nc.theory.squared_error_optimum(sizes, decay, decay).objective)
    return np.nan


def family_of(config: Config) -> Build:
    """The batched function of a model, a family of losses and a shape."""
    solver = nc.FactoredMultiStart(restarts=config.restarts)

    def build(choices: Mapping[str, Any]) -> Batched:
        classes, samples = choices["K"], choices["n"]
        width = {"dimension": choices["p"], "samples": samples}
        make, _ = losses(config)[choices["family"]]

        def solve(columns: dict[str, jax.Array], keys: jax.Array) -> dict[str, jax.Array]:
            loss, strength = make(columns["parameter"]), columns["E or c"]
            sizes = np.full(classes, float(samples))
            if choices["model"] == "LPM":
                # The contrastive loss has no classifiers: the budget is that of the features.
                energy = strength if choices["family"] == "contrastive" else strength**2
                program: Any = nc.LayerPeeled(sizes, 1.0, energy, loss, **width)
            else:
                decay = strength / (classes * np.sqrt(samples))
                program = nc.UnconstrainedFeatures(sizes, decay, decay, loss=loss, **width)
            solution = nc.solve_batch(program, solver, keys)
            measures = jax.vmap(nc.metrics.collapse_metrics)(solution)
            ends = solution.restart_objectives
            return {
                **{name: getattr(solution, name) for name in CERTIFICATES},
                **{name: getattr(measures, name) for name in METRICS},
                **{f"restart {place}": ends[:, place] for place in range(config.restarts)},
            }

        return solve

    return build


def compared(config: Config, row: Mapping[str, Any]) -> dict[str, Any]:
    """A solved point together with the theoretical values for it."""
    model, strength, parameter = row["model"], row["E or c"], row["parameter"]
    make, _ = losses(config)[row["family"]]
    loss = make(parameter)
    known = theoretical_value(loss, model, (row["K"], row["p"], row["n"]), strength)
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


def best_frames(classes: int, energy: float, norms: np.ndarray, seed: int) -> np.ndarray:
    """Cross-entropy of the best simplex ETF under Proposition 2's constraint, for each q.

    All ETFs are rotations of one another; the largest one that the ℓ_q constraint
    allows is searched over rotations, from 16 starts.
    """
    frame, starts = nc.simplex_etf(classes, dtype=float), 16

    def size(q: jax.Array, point: jax.Array) -> jax.Array:
        rotation = jnp.linalg.qr(point.reshape(classes, classes))[0]
        return jnp.mean(jnp.sum(jnp.abs(frame @ rotation) ** q, axis=1))

    def start(_: jax.Array, key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (classes**2,))

    @jax.jit
    def smallest(powers: jax.Array, keys: jax.Array) -> jax.Array:
        settings = Settings(1e-9, 1e-12, 500, 6, len(powers))
        return minimise_lanes(size, start, powers, keys, settings).value

    keys = jax.random.split(jax.random.key(seed), starts * len(norms))
    found = smallest(jnp.repeat(jnp.asarray(norms), starts), keys).reshape(-1, starts)
    lengths = (energy / np.nanmin(np.asarray(found), axis=1)) ** (1 / norms)
    return np.asarray(nc.theory.balanced_optimum(classes, lengths).objective)


def norms_of(config: Config) -> Build:
    """The batched function of Proposition 2, K = p = 3, E_H = 2: q to the best point found."""
    solver = nc.FactoredMultiStart(restarts=2 * config.restarts, max_iterations=3000)

    def build(_: Mapping[str, Any]) -> Batched:
        def solve(columns: dict[str, jax.Array], keys: jax.Array) -> dict[str, jax.Array]:
            model = nc.LayerPeeled([1.0] * 3, 1.0, 2.0, feature_power=columns["q"])
            solution = nc.solve_batch(model, solver, keys)
            features, weights = solution.features, solution.classifiers
            angles = nc.cosines(features @ jnp.swapaxes(features, -1, -2))
            lengths = jnp.linalg.norm(features, axis=-1) * jnp.linalg.norm(weights, axis=-1)
            alignment = jnp.sum(features * weights, axis=-1) / lengths
            pairs = np.transpose(np.triu_indices(3, 1))
            return {
                **{name: getattr(solution, name) for name in CERTIFICATES},
                **{f"cosine {place}": angles[:, *pair] for place, pair in enumerate(pairs)},
                "least alignment": jnp.min(alignment, axis=-1),
                "largest alignment": jnp.max(alignment, axis=-1),
            }

        return solve

    return build


def run_norms(config: Config) -> pd.DataFrame:
    """Proposition 2: the best point found compared with the best simplex ETF."""
    norms = np.array(config.norms)
    block = Block({}, Values("q", norms), len(norms))
    settings, folder = str(dataclasses.replace(config, out=Path())), config.out / PARTS / "norms"
    table = tabulate(norms_of(config), [block], folder, settings, config.seed)
    frames = best_frames(3, 2.0, norms, config.seed)
    rows = []
    for row, frame in zip(table.to_dict("records"), frames, strict=True):
        ends = row["least alignment"], row["largest alignment"]
        rows.append(
            {
                "q": row["q"],
                "status": nc.Status(row["status"]).name.lower(),
                "best found": row["objective"],
                "best ETF": frame,
                "gain": frame - row["objective"],
                "cos(h, h')": " ".join(f"{row[f'cosine {place}']:.4f}" for place in range(3)),
                "cos(w, h)": f"{ends[0]:.4f} to {ends[1]:.4f}",
                "spread": f"{row['spread']:.1e}",
            }
        )
    return pd.DataFrame(rows)


def run(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of theorems and that of Proposition 2."""
    blocks = []
    for classes, dimension, samples in config.shapes:
        for model, strengths in (("LPM", config.budgets), ("UFM", config.decays)):
            for family, (_, parameters) in losses(config).items():
                shape = {"K": classes, "p": dimension, "n": samples}
                axes = (Values("parameter", parameters), Values("E or c", strengths))
                grid = Product(*axes)
                blocks.append(Block({"model": model, "family": family} | shape, grid, len(grid)))
    settings, folder = str(dataclasses.replace(config, out=Path())), config.out / PARTS / "theorems"
    with report.points_bar(sum(len(block.grid) for block in blocks)) as progress:
        table = tabulate(family_of(config), blocks, folder, settings, config.seed, progress)
    rows = [compared(config, row) for row in table.to_dict("records")]
    return pd.DataFrame(rows), run_norms(config)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each model and loss: the worst case over shapes and budgets."""
    rows = []
    keys = list(zip(table["model"], table["loss"], table["condition"], strict=True))
    for key in dict.fromkeys(keys):
        model, loss, condition = key
        group = table[[other == key for other in keys]]
        known = group[group["reached"] >= 0]
        reached = f"{known['reached'].sum()}/{known['restarts'].sum()}" if len(known) else "-"
        excess = np.asarray(known["excess"])
        span = f"{excess.min():.0e} to {excess.max():.0e}" if len(known) else "no closed form"
        rows.append(
            {
                "model": model,
                "loss": loss,
                "Theorem 4 applies": {True: "yes", False: "no", None: "-"}[condition],
                "programs": len(group),
                "relative excess": span,
                "restarts at the optimum": reached,
                "status": ", ".join(sorted(set(group["status"]))),
                **{metric: f"{group[metric].max():.0e}" for metric in METRICS},
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, norms: pd.DataFrame) -> Figure:
    """Distances from collapse by loss; excess over the theoretical optimum; Proposition 2."""
    figure, axes = report.new_figure(1, 3, 10, 4, share_x=False, share_y=False)
    names = list(dict.fromkeys(table["model"] + ", " + table["loss"]))
    places = {name: place for place, name in enumerate(names[::-1])}
    labels = table["model"] + ", " + table["loss"]
    heights = np.array([places[label] for label in labels])
    for place, (metric, label) in enumerate(zip(METRICS, ("NC1", "NC2", "NC3"), strict=True)):
        values = table[metric].clip(lower=1e-17)
        axes[0, 0].plot(values, heights, "o", ms=3, color=report.PALETTE[place], label=label)
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xlabel("distance from collapse")
    axes[0, 0].set_yticks(list(places.values()), list(places))
    known = table["excess"].notna()
    excess = table.loc[known, "excess"].abs().clip(lower=1e-17)
    axes[0, 1].plot(excess, heights[known], "o", ms=3, color="black")
    axes[0, 1].set_xscale("log")
    axes[0, 1].set_yticks(list(places.values()), [])
    axes[0, 1].set_ylim(axes[0, 0].get_ylim())
    axes[0, 1].set_xlabel("|objective − theory| / theory")
    order = norms.sort_values("q")
    axes[0, 2].plot(order["q"], order["best ETF"], "s--", color=report.PALETTE[4], label="best ETF")
    axes[0, 2].plot(
        order["q"], order["best found"], "o-", color=report.PALETTE[3], label="best found"
    )
    axes[0, 2].set_xlabel(r"$q$ of the features' norm")
    axes[0, 2].set_ylabel("cross-entropy")
    axes[0, 2].set_title("Proposition 2, K = p = 3")
    handles = [axis.get_legend_handles_labels() for axis in (axes[0, 0], axes[0, 2])]
    figure.legend(
        [h for pair in handles for h in pair[0]],
        [label for pair in handles for label in pair[1]],
        loc="outside lower center",
        ncols=5,
    )
    return figure


def main(config: Config) -> None:
    """Runs the study, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    table, norms = run(config)
    summary = summarise(table)
    report.write_table(table, config.out)
    report.write_table(norms, config.out, "norms")
    report.write_summary(summary, config.out)
    report.write_summary(norms, config.out, "norms")
    stored = report.read_table(config.out), report.read_table(config.out, "norms")
    report.save_figure(draw(*stored), config.out, "collapse")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    forget(config.out / PARTS)
    report.print_table(summary, "Balanced optima compared with theory")
    report.print_table(norms, "Proposition 2: an l_q norm of the features, K = p = 3")
    print(f"{len(table)} programs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
