"""Neural collapse as a table of theorems, checked from cold random starts.

Balanced Layer-Peeled Models and unconstrained feature models under every loss:
how far the solution's features and classifiers are from collapse (NC1-NC3), its
objective against the theoretical optimum, and how many random restarts reached
it. Rows with and without Theorem 4's condition on the budget are marked. And
Proposition 2: with an l_q norm in the features' constraint the best simplex
ETF is beaten, by how much. Takes about a minute on two cores, most of it
compilation; the preset "wide" adds three more shapes.

    python studies/neural_collapse.py
    python studies/neural_collapse.py --preset wide
    python studies/neural_collapse.py --shapes 10 12 3 --restarts 8
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import track

import nc_jax as nc
from nc_jax import report
from nc_jax.solvers.quasi_newton import Settings, minimise_lanes


def log_and_square(probability: jax.Array) -> jax.Array:
    """The g1 of the user-given pair, −log S."""
    return -jnp.log(probability)


def square(probability: jax.Array) -> jax.Array:
    """The g2 of the user-given pair, S²."""
    return probability**2


@dataclasses.dataclass(frozen=True)
class Config:
    """What to compute; energies are mean squared norms."""

    shapes: tuple[tuple[int, int, int], ...] = ((4, 4, 2),)
    """K, p, n of each balanced problem: classes, dimensions, samples of a class."""
    budgets: tuple[float, ...] = (1.0, 2.0, 5.0)
    """E = sqrt(E_W E_H) of the Layer-Peeled Models, with E_W = 1; E_H for the contrastive loss."""
    decays: tuple[float, ...] = (0.02, 0.2)
    """Of the unconstrained features: K sqrt(n λ_W λ_H), which collapses to zero at 1."""
    powers: tuple[float, ...] = (1.5, 3.0)
    """q of the power softmax losses."""
    temperatures: tuple[float, ...] = (0.5, 1.0)
    """τ of the contrastive losses."""
    norms: tuple[float, ...] = (1.2, 1.5, 3.0, 4.0, 8.0)
    """q of Proposition 2's norm of the features."""
    restarts: int = 4
    """Random starts of every solve."""
    out: Path = Path("results/neural_collapse")
    """Folder of the results."""
    seed: int = 0
    """Of the random starts."""


PRESETS = {
    "default": Config(),
    "wide": Config(shapes=((3, 5, 1), (4, 4, 2), (6, 9, 3), (10, 16, 2))),
    "quick": Config(shapes=((3, 3, 2),), budgets=(2.0,), decays=(0.2,), norms=(4.0,), restarts=2),
}
METRICS = ("nc1_quotient", "nc2_etf", "nc3_difference")


def check(config: Config) -> None:
    """Raises ValueError naming the option that makes no sense."""
    for classes, dimension, samples in config.shapes:
        if classes < 3 or dimension < classes or samples < 1:
            raise ValueError(
                f"--shapes must be K ≥ 3, p ≥ K and n ≥ 1, got {classes} {dimension} {samples}"
            )
    for name in ("budgets", "decays", "powers", "temperatures"):
        if not getattr(config, name) or min(getattr(config, name)) <= 0:
            raise ValueError(f"--{name} must be positive, got {getattr(config, name)}")
    if min((*config.powers, *config.norms)) <= 1:
        raise ValueError("--powers and --norms must be greater than 1")
    if config.restarts < 1:
        raise ValueError(f"--restarts must be positive, got {config.restarts}")


def losses(config: Config) -> list[tuple[str, Any, list[float]]]:
    """Families of losses: name, how to build one, and its parameters."""
    return [
        ("cross-entropy", lambda _: nc.CrossEntropy(), [np.nan]),
        ("squared error", lambda _: nc.MeanSquaredError(), [np.nan]),
        ("power softmax", nc.PowerSoftmax, list(config.powers)),
        ("-log S + S^2", lambda _: nc.SoftmaxBased(log_and_square, square), [np.nan]),
        ("contrastive", nc.SupervisedContrastive, list(config.temperatures)),
    ]


def theoretical_value(
    loss: nc.Loss, model: str, shape: tuple[int, int, int], strength: float
) -> float:
    """The known optimum, or NaN where theory has none."""
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


def solve_family(
    config: Config, family: tuple[str, Any, list[float]], model: str, shape: tuple[int, int, int]
) -> list[dict[str, Any]]:
    """One row for each parameter of the loss and each budget or decay."""
    name, build, parameters = family
    classes, dimension, samples = shape
    strengths = config.budgets if model == "LPM" else config.decays
    grid = [(parameter, strength) for parameter in parameters for strength in strengths]
    values = np.array([value for value, _ in grid])
    strength = np.array([value for _, value in grid])
    loss, sizes = build(values), np.full(classes, float(samples))
    if model == "LPM":
        # Without classifiers the budget is that of the features alone.
        energy = strength if name == "contrastive" else strength**2
        program: Any = nc.LayerPeeled(
            sizes, 1.0, energy, loss, dimension=dimension, samples=samples
        )
    else:
        decay = strength / (classes * np.sqrt(samples))
        program = nc.UnconstrainedFeatures(
            sizes, decay, decay, loss=loss, dimension=dimension, samples=samples
        )
    solver = nc.FactoredMultiStart(restarts=config.restarts)
    solution = nc.solve_batch(program, solver, jax.random.key(config.seed))
    rows = []
    for lane, (parameter, value) in enumerate(grid):
        one = jax.tree.map(lambda leaf, lane=lane: leaf[lane], solution)
        known = theoretical_value(build(parameter), model, shape, value)
        reached = np.asarray(one.restart_objectives) <= known + 1e-6 * abs(known) + 1e-12
        measures = nc.metrics.collapse_metrics(one)._asdict()
        condition = None
        if model == "LPM" and isinstance(loss, nc.PowerSoftmax | nc.SoftmaxBased):
            condition = bool(nc.theory.softmax_condition(classes, value))
        rows.append(
            {
                "model": model,
                "loss": name if np.isnan(parameter) else f"{name}, {parameter:g}",
                "K": classes,
                "p": dimension,
                "n": samples,
                "E or c": value,
                "condition": condition,
                "status": nc.Status(int(one.status)).name.lower(),
                "objective": float(one.objective),
                "theory": known,
                # A squared error may be fitted exactly; then the excess is absolute.
                "excess": (float(one.objective) - known) / (known or 1.0),
                "reached": int(np.sum(reached)) if np.isfinite(known) else -1,
                "restarts": config.restarts,
                "spread": float(one.spread),
                "gap": float(one.gap),
                **{metric: float(measures[metric]) for metric in METRICS},
            }
        )
    return rows


def best_frames(classes: int, energy: float, norms: np.ndarray, seed: int) -> np.ndarray:
    """Cross-entropy of the best simplex ETF under Proposition 2's constraint, for each q.

    All ETFs are rotations of one; the longest that the ℓ_q constraint allows is
    found over rotations, from 16 starts.
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


def run_norms(config: Config) -> pd.DataFrame:
    """Proposition 2: best point found against the best simplex ETF, K = p = 3, E_H = 2."""
    rows = []
    norms = np.array(config.norms)
    model = nc.LayerPeeled([1.0] * 3, 1.0, 2.0, feature_power=norms)
    solver = nc.FactoredMultiStart(restarts=2 * config.restarts, max_iterations=3000)
    solution = nc.solve_batch(model, solver, jax.random.key(config.seed))
    frames = best_frames(3, 2.0, norms, config.seed)
    for lane, (q, frame) in enumerate(zip(norms, frames, strict=True)):
        one = jax.tree.map(lambda leaf, lane=lane: leaf[lane], solution)
        features, weights = np.asarray(one.features), np.asarray(one.classifiers)
        angles = np.asarray(nc.cosines(one.features @ one.features.T))[np.triu_indices(3, 1)]
        lengths = np.linalg.norm(features, axis=1) * np.linalg.norm(weights, axis=1)
        alignment = np.sum(features * weights, axis=1) / lengths
        rows.append(
            {
                "q": q,
                "status": nc.Status(int(one.status)).name.lower(),
                "best found": float(one.objective),
                "best ETF": frame,
                "gain": frame - float(one.objective),
                "cos(h, h')": " ".join(f"{cosine:.4f}" for cosine in angles),
                "cos(w, h)": f"{np.min(alignment):.4f} to {np.max(alignment):.4f}",
                "spread": f"{float(one.spread):.1e}",
            }
        )
    return pd.DataFrame(rows)


def run(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of theorems and that of Proposition 2."""
    jobs = [
        (family, model, shape)
        for shape in config.shapes
        for model in ("LPM", "UFM")
        for family in losses(config)
    ]
    rows = []
    for family, model, shape in track(jobs, description="families solved"):
        rows += solve_family(config, family, model, shape)
    return pd.DataFrame(rows), run_norms(config)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """One line a model and loss: the worst over shapes and budgets."""
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
                "Thm 4 holds": {True: "yes", False: "no", None: "-"}[condition],
                "programs": len(group),
                "relative excess": span,
                "restarts at theory": reached,
                "status": ", ".join(sorted(set(group["status"]))),
                **{metric: f"{group[metric].max():.0e}" for metric in METRICS},
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, norms: pd.DataFrame) -> Figure:
    """Distances from collapse by loss, excess over theory, Proposition 2."""
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
    """Runs, stores, and draws from what was stored."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
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
    report.print_table(summary, "Balanced optima against theory")
    report.print_table(norms, "Proposition 2: an l_q norm of the features, K = p = 3")
    print(f"{len(table)} programs, {wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
