"""Which geometry is optimal if classes outnumber dimensions, and which classes merge first?

(a) Codes, balanced classes: the Layer-Peeled Model at a large budget is compared with the code
whose largest cosine is smallest (the limit of ever larger budgets), with the best code known,
and with a bound that no code can beat, for K from p + 2 to 4p; shown are largest cosines and
one-vs-rest margins.

(b) Merging, imbalanced classes: two class sizes, and sizes that decrease exponentially, over the
budget and for p = K − 1 and several smaller p. Shown are the distance of each classifier from
the nearest other one, the rank in use, and the gap to the convex bound, which is zero if the
convex optimum fits into p dimensions.

(c) Vocabularies: word counts n_k ∝ 1/(k + 2.7)^s, over the budget and the exponent s. Shown
are the number of directions of the convex optimum, so which p is sufficient for it, and the
number of tokens with a direction of their own. Tokens with similar counts are merged; the gap
includes the error that this causes.

(d) Profiles: class sizes with the number of classes and the largest and smallest size of
CIFAR-100-LT, Places-LT, ImageNet-LT and iNaturalist 2018 (not the counts of these data sets
themselves): the same quantities over the budget, and the angle and length of the smallest
classes' classifiers.

    python studies/many_classes.py
    python studies/many_classes.py --parts vocabularies --tokens 100000 --exponents 0.8 1 1.2
    python studies/many_classes.py --dimensions 3 8 --restarts 32 --ratio 1000
    python studies/many_classes.py --preset cpu

Time on two CPU cores: 100 s; nearly all of it is compilation, because each combination of K
and p, each exponent and each profile is compiled separately.
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
from nc_jax.diagnosis import PROFILES, vocabulary_rows, zipf_counts
from nc_jax.report.codes import draw_codes, draw_merging, summarise_codes, summarise_merging
from nc_jax.report.vocabularies import (
    draw_profiles,
    draw_vocabularies,
    summarise_profiles,
    summarise_vocabularies,
)

SIZES = ("two sizes", "long-tailed")
PARTS = ("codes", "merging", "vocabularies", "profiles")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    parts: tuple[str, ...] = PARTS
    """Panels to compute: codes, merging, vocabularies, profiles."""
    dimensions: tuple[int, ...] = (3, 4)
    """p of the codes; K runs from p + 2 to p times --most."""
    model_every: int = 12
    """The model is solved in addition to the codes if K is a multiple of this number."""
    most: int = 4
    """Largest K of the codes, as a multiple of p."""
    budget: float = 20.0
    """E of the balanced Layer-Peeled Model that is compared with the codes."""
    restarts: int = 16
    """Number of random starts of every Layer-Peeled Model."""
    num_classes: int = 10
    """K in the merging panels."""
    majority: int = 3
    """K_A, the number of large classes if there are two class sizes."""
    ratio: float = 20.0
    """R, the ratio of the largest to the smallest class."""
    widths: tuple[int, ...] = (2, 9)
    """p in the merging panels, at most K − 1."""
    budget_range: tuple[float, float] = (0.3, 8.0)
    """Smallest and largest E in the merging panels."""
    num_budgets: int = 13
    """Number of values of E in the merging panels."""
    tokens: int = 50_000
    """K, the number of tokens of a vocabulary."""
    corpus: float = 1e7
    """N, the number of words; every token occurs at least once."""
    exponents: tuple[float, ...] = (0.8, 1.0, 1.2)
    """s, the exponents of the counts 1/(k + 2.7)^s."""
    vocabulary_budgets: tuple[float, float] = (1e-3, 30.0)
    """Smallest and largest E of the vocabularies."""
    num_vocabulary_budgets: int = 15
    """Number of values of E for the vocabularies, and for the profiles."""
    contours: tuple[int, ...] = (64, 256, 768, 4096)
    """Values of p for which the phase map shows whether the convex optimum fits."""
    profiles: tuple[str, ...] = tuple(PROFILES)
    """Names of the long-tailed size profiles."""
    profile_budgets: tuple[float, float] = (0.03, 30.0)
    """Smallest and largest E of the profiles."""
    merge_tolerance: float = 0.1
    """Counts with at most this relative difference are merged in vocabularies and profiles."""
    out: Path = Path("results/many_classes")
    """Folder in which the results are written."""
    seed: int = 0
    """Seed of the random starts."""


PRESETS = {
    "default": Config(),
    "quick": Config(
        dimensions=(2,),
        model_every=4,
        widths=(2,),
        num_budgets=4,
        restarts=4,
        tokens=300,
        corpus=1e4,
        exponents=(0.8, 1.2),
        num_vocabulary_budgets=4,
        contours=(16, 64),
        profiles=("CIFAR-100-LT",),
        merge_tolerance=0.3,
    ),
    "cpu": Config(
        dimensions=(3, 4, 5, 8),
        model_every=1,
        restarts=64,
        widths=(2, 3, 4, 5, 6, 7, 8, 9),
        num_budgets=33,
        exponents=tuple(round(0.5 + 0.1 * step, 1) for step in range(14)),
        num_vocabulary_budgets=46,
        merge_tolerance=0.05,
        out=Path("results/many_classes/cpu"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_distinct(config, "dimensions", "widths")
    report.require_numbers(config, "dimensions", "most", "num_budgets", least=2)
    report.require_numbers(config, "model_every", "restarts", least=1)
    report.require_numbers(config, "num_classes", least=3, most=1000)
    report.require_numbers(config, "widths", "majority", least=1, most=config.num_classes - 1)
    report.require_numbers(config, "ratio", above=1)
    report.require_numbers(config, "budget", above=0)
    report.require_range(config, "budget_range")
    report.require_numbers(config, "seed", least=0)
    check_sizes(config)


def check_sizes(config: Config) -> None:
    """The same checks for the parts, vocabularies and profiles."""
    report.require_distinct(config, "parts", known=PARTS)
    report.require_distinct(config, "profiles", known=PROFILES)
    report.require_numbers(config, "tokens", least=3)
    report.require_numbers(config, "corpus", least=config.tokens)
    report.require_distinct(config, "exponents", "contours")
    report.require_numbers(config, "exponents", above=0, below=4)
    if len(config.exponents) < 2:
        raise ValueError(
            f"--exponents must be at least two values, got {report.shown(config.exponents)}"
        )
    report.require_range(config, "vocabulary_budgets", "profile_budgets")
    report.require_numbers(config, "num_vocabulary_budgets", least=2)
    report.require_numbers(config, "contours", least=1)
    report.require_numbers(config, "merge_tolerance", least=0, below=1)


def largest_cosine(classifiers: Any) -> float:
    """The largest cosine between two different rows."""
    angles = np.array(nc.cosines(nc.gram(jnp.asarray(classifiers))))
    return float(np.max(angles[~np.eye(len(angles), dtype=bool)]))


def code_row(config: Config, dimension: int, size: int) -> dict[str, Any]:
    """The limiting code, known results, and the balanced optimum at the budget."""
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
    """Length of every classifier and its distance from the nearest other one, over the budget."""
    budgets = np.geomspace(*config.budget_range, config.num_budgets)
    small = config.num_classes - config.majority
    sizes = nc.long_tailed(config.num_classes, config.ratio)
    if kind == "two sizes":
        sizes = nc.two_groups(config.majority, small, config.ratio)
    models = nc.LayerPeeled(sizes, budgets, budgets, dimension=dimension)
    # A queue of fewer slots compiles only once; the number of steps matters little here.
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


def zipf_rows(config: Config, exponent: float) -> list[dict[str, Any]]:
    """The rows of one vocabulary, over the budget."""
    counts = zipf_counts(config.tokens, config.corpus, exponent)
    budgets = np.geomspace(*config.vocabulary_budgets, config.num_vocabulary_budgets)
    rows = vocabulary_rows(counts, budgets, config.merge_tolerance)
    return [{"exponent": exponent} | row for row in rows]


def profile_rows(config: Config, name: str) -> list[dict[str, Any]]:
    """The rows of one profile, over the budget."""
    budgets = np.geomspace(*config.profile_budgets, config.num_vocabulary_budgets)
    rows = vocabulary_rows(PROFILES[name].counts(), budgets, config.merge_tolerance)
    return [{"profile": name} | row for row in rows]


def run(config: Config) -> dict[str, pd.DataFrame]:
    """The table of each part, in the order of PARTS."""
    codes = [(p, k) for p in config.dimensions for k in range(p + 2, config.most * p + 1)]
    tasks: dict[str, list[Callable[[], Any]]] = {
        "codes": [(lambda p=p, k=k: [code_row(config, p, k)]) for p, k in codes],
        "merging": [
            (lambda kind=kind, p=p: merging_rows(config, kind, p))
            for kind in SIZES
            for p in config.widths
        ],
        "vocabularies": [(lambda s=s: zipf_rows(config, s)) for s in config.exponents],
        "profiles": [(lambda name=name: profile_rows(config, name)) for name in config.profiles],
    }
    chosen = [part for part in PARTS if part in config.parts]
    # The longest task is started first, so that no core is idle at the end.
    longest = [(part, task) for part in reversed(chosen) for task in tasks[part]]
    results = in_parallel([task for _, task in longest])
    tables: dict[str, list[dict[str, Any]]] = {part: [] for part in chosen}
    for (part, _), rows in zip(longest, results, strict=True):
        tables[part] += rows
    return {part: pd.DataFrame(rows) for part, rows in tables.items()}


def in_parallel(tasks: list[Callable[[], Any]]) -> list[Any]:
    """Results in order; each of these small programs compiles and runs on a single core."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        started = [pool.submit(task) for task in tasks]
        return report.map_with_bar(lambda future: future.result(), started, "programs")


def main(config: Config) -> None:
    """Runs the study, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    views: dict[str, tuple[Any, Any, str]] = {
        "codes": (
            summarise_codes,
            lambda table: draw_codes(table, config.budget),
            f"Balanced classes at E = {config.budget:g}, and the limit of large budgets",
        ),
        "merging": (
            summarise_merging,
            draw_merging,
            "Budget E from which on a classifier stands apart by a tenth",
        ),
        "vocabularies": (
            lambda table: summarise_vocabularies(table, config.contours),
            lambda table: draw_vocabularies(table, config.contours),
            f"Vocabularies of {config.tokens:,} tokens",
        ),
        "profiles": (summarise_profiles, draw_profiles, "Long-tailed size profiles"),
    }
    shown_tables = []
    for part, table in run(config).items():
        summarise, draw, title = views[part]
        report.write_table(table, config.out, part)
        stored = report.read_table(config.out, part)
        summary = summarise(stored)
        report.write_summary(summary, config.out, part)
        report.save_figure(draw(stored), config.out, part)
        shown_tables.append((summary, title))
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    for summary, title in shown_tables:
        report.print_table(summary, title)
    print(f"{wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
