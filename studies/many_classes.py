"""Which geometry is optimal if classes outnumber dimensions, and which classes merge first?

(a) Codes, balanced classes: the Layer-Peeled Model at a large budget is compared with the code
whose largest cosine is smallest (the limit of ever larger budgets), with the best code known,
and with a bound that no code can beat, for K from p + 2 to 4p; shown are largest cosines and
one-vs-rest margins.

(b) Merging, imbalanced classes: two class sizes, and sizes that decrease exponentially, over the
budget and for p = K − 1 and several smaller p. Shown are the distance of each classifier from
the nearest other one, the rank in use, and the gap to the convex bound, which is zero if the
convex optimum fits into p dimensions.

    python studies/many_classes.py
    python studies/many_classes.py --parts codes --dimensions 5 --most 3
    python studies/many_classes.py --dimensions 3 8 --restarts 32 --ratio 1000
    python studies/many_classes.py --preset cpu

Time on two CPU cores: 1 minute; nearly all of it is compilation, because each combination of K
and p is compiled separately. The study vocabularies treats thousands of classes.
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
from nc_jax.experiments.crowded import code_row, crowded_row, merging_rows
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
from nc_jax.study import Results, Study, computed

SIZES = ("two sizes", "long-tailed")
PARTS = ("codes", "merging")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    parts: Annotated[tuple[str, ...], Distinct(PARTS)] = PARTS
    """Panels to compute: codes, merging."""
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
    out: Path = Path("results/many_classes")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
    """Seed of the random starts."""


PRESETS = {
    "default": Config(),
    "quick": Config(dimensions=(2,), model_every=4, widths=(2,), num_budgets=4, restarts=4),
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
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "widths", "majority", most=config.num_classes - 1)


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


def run(config: Config) -> Results:
    """The table of each part, and what it says."""
    codes = [(p, k) for p in config.dimensions for k in range(p + 2, config.most * p + 1)]
    merging = itertools.product(SIZES, config.widths)
    tasks = {
        "codes": [partial(balanced_rows, config, *place) for place in codes],
        "merging": [partial(imbalanced_rows, config, *place) for place in merging],
    }
    tables = computed({part: own for part, own in tasks.items() if part in config.parts})
    limit = f"Balanced classes at E = {config.budget:g}, and the limit of large budgets"
    apart = "Budget E from which on a classifier stands apart by a tenth"
    summaries = {"codes": (summarise_codes, limit), "merging": (summarise_merging, apart)}
    said = {part: summaries[part][0](table) for part, table in tables.items()}
    return Results(tables, said, [(summaries[part][1], said[part]) for part in tables])


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """A figure of each part."""
    drawn: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "codes": partial(draw_codes, budget=config.budget),
        "merging": draw_merging,
    }
    return {part: drawn[part](table) for part, table in tables.items()}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw, every_core=False).command(__doc__)
