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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.diagnosis import (
    PROFILES,
    code_row,
    crowded_row,
    merging_rows,
    vocabulary_rows,
    zipf_counts,
)
from nc_jax.report.codes import draw_codes, draw_merging, summarise_codes, summarise_merging
from nc_jax.report.vocabularies import (
    draw_profiles,
    draw_vocabularies,
    summarise_profiles,
    summarise_vocabularies,
)
from nc_jax.study import Results, Study

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


def balanced_rows(config: Config, dimension: int, size: int) -> list[dict[str, Any]]:
    """The limiting code and, for some K, the balanced optimum at the budget."""
    key = jax.random.key(config.seed)
    row = code_row(size, dimension, key)
    if size % config.model_every == 0:
        row |= crowded_row(size, dimension, config.budget, config.restarts, key)
    return [row]


def imbalanced_rows(config: Config, kind: str, dimension: int) -> list[dict[str, Any]]:
    """Every classifier of the imbalanced optima, over the budget."""
    budgets = np.geomspace(*config.budget_range, config.num_budgets)
    sizes = nc.long_tailed(config.num_classes, config.ratio)
    if kind == "two sizes":
        small = config.num_classes - config.majority
        sizes = nc.two_groups(config.majority, small, config.ratio)
    key = jax.random.key(config.seed)
    rows = merging_rows(sizes, dimension, budgets, config.restarts, key)
    return [{"sizes": kind} | row for row in rows]


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


def tables_of(config: Config) -> dict[str, pd.DataFrame]:
    """The table of each part, in the order of PARTS."""
    codes = [(p, k) for p in config.dimensions for k in range(p + 2, config.most * p + 1)]
    tasks: dict[str, list[Callable[[], Any]]] = {
        "codes": [(lambda p=p, k=k: balanced_rows(config, p, k)) for p, k in codes],
        "merging": [
            (lambda kind=kind, p=p: imbalanced_rows(config, kind, p))
            for kind in SIZES
            for p in config.widths
        ],
        "vocabularies": [(lambda s=s: zipf_rows(config, s)) for s in config.exponents],
        "profiles": [(lambda name=name: profile_rows(config, name)) for name in config.profiles],
    }
    chosen = [part for part in PARTS if part in config.parts]
    # The longest task is started first, so that no core is idle at the end.
    longest = [(part, task) for part in reversed(chosen) for task in tasks[part]]
    # Each of these small programs compiles and runs on a single core.
    results = report.map_in_threads(lambda item: item[1](), longest, "programs")
    tables: dict[str, list[dict[str, Any]]] = {part: [] for part in chosen}
    for (part, _), rows in zip(longest, results, strict=True):
        tables[part] += rows
    return {part: pd.DataFrame(rows) for part, rows in tables.items()}


def run(config: Config) -> Results:
    """The table of each part, and what it says."""
    tables = tables_of(config)
    summaries = {
        "codes": summarise_codes,
        "merging": summarise_merging,
        "vocabularies": lambda table: summarise_vocabularies(table, config.contours),
        "profiles": summarise_profiles,
    }
    titles = {
        "codes": f"Balanced classes at E = {config.budget:g}, and the limit of large budgets",
        "merging": "Budget E from which on a classifier stands apart by a tenth",
        "vocabularies": f"Vocabularies of {config.tokens:,} tokens",
        "profiles": "Long-tailed size profiles",
    }
    said = {part: summaries[part](table) for part, table in tables.items()}
    return Results(tables, said, [(titles[part], summary) for part, summary in said.items()])


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """A figure of each part."""
    drawn: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "codes": lambda table: draw_codes(table, config.budget),
        "merging": draw_merging,
        "vocabularies": lambda table: draw_vocabularies(table, config.contours),
        "profiles": draw_profiles,
    }
    return {part: drawn[part](table) for part, table in tables.items()}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw, every_core=False).command(__doc__)
