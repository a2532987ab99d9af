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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

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
from nc_jax.report import (
    AboveOne,
    Bounds,
    Count,
    Distinct,
    Interval,
    NonNegative,
    Positive,
    Several,
    TwoOrMore,
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

    parts: Annotated[tuple[str, ...], Distinct(PARTS)] = PARTS
    """Panels to compute: codes, merging, vocabularies, profiles."""
    dimensions: Several[TwoOrMore] = (3, 4)
    """p of the codes; K runs from p + 2 to p times --most."""
    model_every: Count = 12
    """The model is solved in addition to the codes if K is a multiple of this number."""
    most: TwoOrMore = 4
    """Largest K of the codes, as a multiple of p."""
    budget: Positive = 20.0
    """E of the balanced Layer-Peeled Model that is compared with the codes."""
    restarts: Count = 16
    """Number of random starts of every Layer-Peeled Model."""
    num_classes: Annotated[int, Bounds(least=3, most=1000)] = 10
    """K in the merging panels."""
    majority: Count = 3
    """K_A, the number of large classes if there are two class sizes."""
    ratio: AboveOne = 20.0
    """R, the ratio of the largest to the smallest class."""
    widths: Several[Count] = (2, 9)
    """p in the merging panels, at most K − 1."""
    budget_range: Interval = (0.3, 8.0)
    """Smallest and largest E in the merging panels."""
    num_budgets: TwoOrMore = 13
    """Number of values of E in the merging panels."""
    tokens: Annotated[int, Bounds(least=3)] = 50_000
    """K, the number of tokens of a vocabulary."""
    corpus: float = 1e7
    """N, the number of words; every token occurs at least once."""
    exponents: Several[Annotated[float, Bounds(above=0, below=4)]] = (0.8, 1.0, 1.2)
    """s, the exponents of the counts 1/(k + 2.7)^s."""
    vocabulary_budgets: Interval = (1e-3, 30.0)
    """Smallest and largest E of the vocabularies."""
    num_vocabulary_budgets: TwoOrMore = 15
    """Number of values of E for the vocabularies, and for the profiles."""
    contours: Several[Count] = (64, 256, 768, 4096)
    """Values of p for which the phase map shows whether the convex optimum fits."""
    profiles: Annotated[tuple[str, ...], Distinct(tuple(PROFILES))] = tuple(PROFILES)
    """Names of the long-tailed size profiles."""
    profile_budgets: Interval = (0.03, 30.0)
    """Smallest and largest E of the profiles."""
    merge_tolerance: Annotated[float, Bounds(least=0, below=1)] = 0.1
    """Counts with at most this relative difference are merged in vocabularies and profiles."""
    out: Path = Path("results/many_classes")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
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
    report.require_numbers(config, "widths", "majority", most=config.num_classes - 1)
    report.require_numbers(config, "corpus", least=config.tokens)
    if len(config.exponents) < 2:
        raise ValueError(
            f"--exponents must be at least two values, got {report.shown(config.exponents)}"
        )


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


def counted_rows(
    config: Config, about: dict[str, Any], counts: np.ndarray, ends: tuple[float, float]
) -> list[dict[str, Any]]:
    """The rows of one vocabulary or profile, over the budget."""
    budgets = np.geomspace(*ends, config.num_vocabulary_budgets)
    return [about | row for row in vocabulary_rows(counts, budgets, config.merge_tolerance)]


def tasks_of(config: Config) -> dict[str, list[Callable[[], list[dict[str, Any]]]]]:
    """What computes the rows of each part; each task compiles programs of its own."""
    codes = [(p, k) for p in config.dimensions for k in range(p + 2, config.most * p + 1)]
    merging = list(itertools.product(SIZES, config.widths))
    corpus = config.tokens, config.corpus
    ends = config.vocabulary_budgets, config.profile_budgets
    words = [({"exponent": s}, zipf_counts(*corpus, s), ends[0]) for s in config.exponents]
    known = [({"profile": name}, PROFILES[name].counts(), ends[1]) for name in config.profiles]
    return {
        "codes": [partial(balanced_rows, config, *place) for place in codes],
        "merging": [partial(imbalanced_rows, config, *place) for place in merging],
        "vocabularies": [partial(counted_rows, config, *own) for own in words],
        "profiles": [partial(counted_rows, config, *own) for own in known],
    }


def tables_of(config: Config) -> dict[str, pd.DataFrame]:
    """The table of each part, in the order of PARTS."""
    tasks = tasks_of(config)
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
    limit = f"Balanced classes at E = {config.budget:g}, and the limit of large budgets"
    apart = "Budget E from which on a classifier stands apart by a tenth"
    words = partial(summarise_vocabularies, contours=config.contours)
    summaries = {
        "codes": (summarise_codes, limit),
        "merging": (summarise_merging, apart),
        "vocabularies": (words, f"Vocabularies of {config.tokens:,} tokens"),
        "profiles": (summarise_profiles, "Long-tailed size profiles"),
    }
    said = {part: summaries[part][0](table) for part, table in tables.items()}
    shown = [(summaries[part][1], summary) for part, summary in said.items()]
    return Results(tables, said, shown)


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """A figure of each part."""
    drawn: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "codes": partial(draw_codes, budget=config.budget),
        "merging": draw_merging,
        "vocabularies": partial(draw_vocabularies, contours=config.contours),
        "profiles": draw_profiles,
    }
    return {part: drawn[part](table) for part, table in tables.items()}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw, every_core=False).command(__doc__)
