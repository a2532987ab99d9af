"""What geometry is optimal when classes outnumber dimensions, and which classes merge first?

(a) Codes, balanced: the Layer-Peeled Model at a large budget beside the code of the smallest
largest cosine (the limit of ever larger budgets), the best code known, and a bound that no code
can beat, for K from p + 2 to 4p; largest cosines and one-vs-rest margins.

(b) Merging, imbalanced: two sizes of classes, and sizes that fall exponentially, over the budget
and for several p below K − 1 and at it: the distance of each classifier from the nearest
other, the rank in use, and the gap to the convex bound, which is zero where the convex
optimum fits into p dimensions.

    python studies/many_classes.py
    python studies/many_classes.py --dimensions 3 8 --restarts 32 --ratio 1000
    python studies/many_classes.py --preset cpu

The default takes about a minute and a half on two cores, nearly all of it compilation: each
K and p is a program of its own.
"""

import dataclasses
import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

import nc_jax as nc
from nc_jax import report
from nc_jax.report.codes import draw_codes, draw_merging

SIZES = ("two sizes", "long-tailed")


@dataclasses.dataclass(frozen=True)
class Config:
    """What to compute."""

    dimensions: tuple[int, ...] = (3, 4)
    """p of the codes; K goes from p + 2 to ``most`` times p."""
    model_every: int = 4
    """The model is solved beside the codes where K is a multiple of this."""
    most: int = 4
    """The largest K of the codes over p."""
    budget: float = 20.0
    """E of the balanced Layer-Peeled Model beside the codes."""
    restarts: int = 16
    """Random starts of every Layer-Peeled Model."""
    num_classes: int = 10
    """K where classes merge."""
    majority: int = 3
    """K_A, how many classes are large where there are two sizes."""
    ratio: float = 20.0
    """R, the largest class over the smallest."""
    widths: tuple[int, ...] = (2, 4, 9)
    """p where classes merge, at most K − 1."""
    budget_range: tuple[float, float] = (0.3, 8.0)
    """Smallest and largest E where classes merge."""
    num_budgets: int = 13
    """Points between them."""
    out: Path = Path("results/many_classes")
    """Folder of the results."""
    seed: int = 0
    """Of the random starts."""


PRESETS = {
    "default": Config(),
    "quick": Config(dimensions=(2,), widths=(2,), num_budgets=4, restarts=4),
    "cpu": Config(
        dimensions=(3, 4, 5, 8),
        model_every=1,
        restarts=64,
        widths=(2, 3, 4, 5, 6, 7, 8, 9),
        num_budgets=33,
        out=Path("results/many_classes/cpu"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError naming the option that makes no sense."""
    for name, values in (("--dimensions", config.dimensions), ("--widths", config.widths)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must be distinct and at least one, got {values}")
    if min(config.dimensions) < 2:
        raise ValueError(f"--dimensions must be at least 2, got {config.dimensions}")
    if config.most < 2:
        raise ValueError(f"--most must be at least 2, got {config.most}")
    if config.model_every < 1:
        raise ValueError(f"--model-every must be at least 1, got {config.model_every}")
    if config.num_classes < 3:
        raise ValueError(f"--num-classes must be at least 3, got {config.num_classes}")
    if not 1 <= min(config.widths) <= max(config.widths) <= config.num_classes - 1:
        raise ValueError(f"--widths must be from 1 to num-classes - 1, got {config.widths}")
    if not 1 <= config.majority < config.num_classes:
        raise ValueError(f"--majority must be from 1 to num-classes - 1, got {config.majority}")
    if not 1 < config.ratio < np.inf:
        raise ValueError(f"--ratio must be above 1 and finite, got {config.ratio}")
    if not 0 < config.budget < np.inf:
        raise ValueError(f"--budget must be positive and finite, got {config.budget}")
    low, high = config.budget_range
    if not 0 < low < high < np.inf or config.num_budgets < 2:
        raise ValueError("--budget-range must be 0 < low < high, with --num-budgets at least 2")
    if config.restarts < 1:
        raise ValueError(f"--restarts must be at least 1, got {config.restarts}")


def largest_cosine(classifiers: Any) -> float:
    """Of two different rows."""
    angles = np.array(nc.cosines(nc.gram(jnp.asarray(classifiers))))
    return float(np.max(angles[~np.eye(len(angles), dtype=bool)]))


def code_row(config: Config, dimension: int, size: int) -> dict[str, Any]:
    """The code of the limit, what is known, and the balanced optimum at the budget."""
    code = nc.spherical_code(size, dimension, key=jax.random.key(config.seed))
    known = nc.theory.known_code(size, dimension)
    model = model_row(config, dimension, size) if size % config.model_every == 0 else {}
    return {
        "p": dimension,
        "K": size,
        "code_cosine": code.cosine,
        "code_margin": float(np.min(nc.metrics.one_vs_rest_margins(code.points))),
        "code_residual": code.residual,
        "code_restarts": len(code.restart_cosines),
        "code_restarts_at_best": code.restarts_within(1e-3),
        "known_cosine": np.nan if known is None else known.cosine,
        "known_name": "" if known is None else known.name,
        "proved": known is not None and known.proved,
        "bound": nc.theory.least_largest_cosine(size, dimension),
    } | model


def model_row(config: Config, dimension: int, size: int) -> dict[str, Any]:
    """The balanced Layer-Peeled Model at the budget, with its residual and least curvature."""
    model = nc.LayerPeeled(np.ones(size), config.budget, config.budget, dimension=dimension)
    solver = nc.FactoredMultiStart(restarts=config.restarts)
    found = nc.solve(model, solver, jax.random.key(config.seed))
    return {
        "model_cosine": largest_cosine(found.classifiers),
        "model_margin": float(np.min(nc.metrics.one_vs_rest_margins(found.classifiers))),
        "model_residual": float(found.residual),
        "model_curvature": float(nc.least_curvature(found).relative),
        "model_restarts_at_best": int(found.restarts_within(1e-6)),
        "model_status": nc.Status(int(found.status)).name.lower(),
    }


def merging_rows(config: Config, kind: str, dimension: int) -> list[dict[str, Any]]:
    """Every classifier's length and distance from the nearest other, over the budget."""
    budgets = np.geomspace(*config.budget_range, config.num_budgets)
    small = config.num_classes - config.majority
    sizes = nc.long_tailed(config.num_classes, config.ratio)
    if kind == "two sizes":
        sizes = nc.two_groups(config.majority, small, config.ratio)
    models = nc.LayerPeeled(sizes, budgets, budgets, dimension=dimension)
    # A queue of fewer slots compiles once; thousands of steps are not the cost here.
    solver = nc.FactoredMultiStart(restarts=config.restarts, stationarity=1e-5, slots=56)
    found = nc.solve_batch(models, solver, jax.random.key(config.seed))
    classifiers = np.asarray(found.classifiers)
    lengths = np.linalg.norm(classifiers, axis=-1)
    singular = np.linalg.svd(classifiers, compute_uv=False)
    distances = np.linalg.norm(classifiers[:, :, None] - classifiers[:, None], axis=-1)
    nearest = np.min(distances + np.where(np.eye(config.num_classes), np.inf, 0), axis=-1)
    longest = np.max(lengths, axis=1, keepdims=True)
    lanes = {
        "E": budgets,
        "rank": np.sum(singular > 1e-3 * singular[:, :1], axis=1),
        "objective": np.asarray(found.objective),
        "gap": np.asarray(found.gap),
        "spread": np.asarray(found.spread),
        "status": [nc.Status(code).name.lower() for code in np.asarray(found.status)],
        "phase": nc.phase(found),
    }
    return [
        {"sizes": kind, "p": dimension}
        | {name: values[lane] for name, values in lanes.items()}
        | {
            "class": place,
            "length": (lengths / longest)[lane, place],
            "distance": (nearest / longest)[lane, place],
        }
        for lane, place in itertools.product(range(len(budgets)), range(config.num_classes))
    ]


def run(config: Config) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table of codes and the table of merging classes."""
    codes = [
        (lambda p=p, k=k: [code_row(config, p, k)])
        for p in config.dimensions
        for k in range(p + 2, config.most * p + 1)
    ]
    merging = [
        (lambda kind=kind, p=p: merging_rows(config, kind, p))
        for kind in SIZES
        for p in config.widths
    ]
    rows = in_parallel(codes + merging)
    parts = rows[: len(codes)], rows[len(codes) :]
    first, second = (pd.DataFrame(list(itertools.chain(*part))) for part in parts)
    return first, second


def in_parallel(tasks: list[Callable[[], Any]]) -> list[Any]:
    """Results in order; programs this small compile and run on a single core each."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        started = [pool.submit(task) for task in tasks]
        return report.map_with_bar(lambda future: future.result(), started, "programs")


def shown(numbers: Any, digits: int) -> list[str]:
    """Numbers of so many digits; a dash for one that is not there."""
    return ["–" if np.isnan(number) else f"{number:.{digits}f}" for number in numbers]


def summarise_codes(codes: pd.DataFrame) -> pd.DataFrame:
    """A row for each K and p, as shown."""
    return pd.DataFrame(
        {
            "p": codes["p"],
            "K": codes["K"],
            "largest cosine, model": shown(codes["model_cosine"], 6),
            "limit": shown(codes["code_cosine"], 8),
            "best known": shown(codes["known_cosine"], 6),
            "code": codes["known_name"] + np.where(codes["proved"], " (proved)", ""),
            "limit − known": [
                "–" if np.isnan(excess) else f"{excess:.0e}"
                for excess in codes["code_cosine"] - codes["known_cosine"]
            ],
            "lower bound": shown(codes["bound"], 4),
            "margin, model": shown(codes["model_margin"], 4),
            "margin, limit": shown(codes["code_margin"], 4),
            "restarts at best": [
                f"{a}/{b}"
                for a, b in zip(codes["code_restarts_at_best"], codes["code_restarts"], strict=True)
            ],
        }
    )


def summarise_merging(merging: pd.DataFrame) -> pd.DataFrame:
    """For each sizes and p: from which budget on each class stands apart for good."""
    rows = []
    for _, own in merging.groupby(["sizes", "p"], sort=False):
        kind, dimension = own["sizes"].iloc[0], own["p"].iloc[0]
        row: dict[str, Any] = {"sizes": kind, "p": dimension}
        certified = own.loc[own["gap"] <= 1e-7, "E"]
        row["certified up to E"] = f"{certified.max():.3g}" if len(certified) else "none"
        row["largest rank"] = own["rank"].max()
        for place, curve in own.groupby("class"):
            close = curve.loc[curve["distance"] < 0.1, "E"]
            apart = curve.loc[curve["E"] > (close.max() if len(close) else 0), "E"]
            row[f"class {place}"] = (
                f"{apart.min():.2g}" if len(apart) else f"> {curve['E'].max():g}"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def main(config: Config) -> None:
    """Runs, stores, and draws from what was stored."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    codes, merging = run(config)
    report.write_table(codes, config.out, "codes")
    report.write_table(merging, config.out, "merging")
    summaries = summarise_codes(codes), summarise_merging(merging)
    for table, name in zip(summaries, ("codes", "merging"), strict=True):
        report.write_summary(table, config.out, name)
    codes, merging = (report.read_table(config.out, name) for name in ("codes", "merging"))
    report.save_figure(draw_codes(codes, config.budget), config.out, "codes")
    report.save_figure(draw_merging(merging), config.out, "merging")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    report.print_table(summaries[0], f"Balanced classes at E = {config.budget:g}, and the limit")
    report.print_table(summaries[1], "Budget E from which on a classifier stands apart by a tenth")
    print(f"{wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
