"""How many directions do thousands of classes need, and which classes keep one of their own?

(a) Vocabularies: word counts n_k ∝ 1/(k + 2.7)^s, over the budget and the exponent s. Shown
are the number of directions of the convex optimum, so which p is sufficient for it, and the
number of tokens with a direction of their own. Tokens with similar counts are merged; the gap
includes the error that this causes.

(b) Profiles: class sizes with the number of classes and the largest and smallest size of
CIFAR-100-LT, Places-LT, ImageNet-LT and iNaturalist 2018 (not the counts of these data sets
themselves): the same quantities over the budget, and the angle and length of the smallest
classes' classifiers.

    python studies/vocabularies.py
    python studies/vocabularies.py --parts vocabularies --tokens 100000 --exponents 0.8 1 1.2
    python studies/vocabularies.py --profiles CIFAR-100-LT --num-budgets 46
    python studies/vocabularies.py --preset cpu

Time on two CPU cores: 1 minute; nearly all of it is compilation, because each exponent and each
profile is compiled separately.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax import report
from nc_jax.diagnosis import PROFILES, vocabulary_rows, zipf_counts
from nc_jax.report import Bounds, Count, Distinct, Interval, Several, TwoOrMore
from nc_jax.report.vocabularies import (
    draw_profiles,
    draw_vocabularies,
    summarise_profiles,
    summarise_vocabularies,
)
from nc_jax.study import Results, Study, computed

PARTS = ("vocabularies", "profiles")


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    parts: Annotated[tuple[str, ...], Distinct(PARTS)] = PARTS
    """Panels to compute: vocabularies, profiles."""
    tokens: Annotated[int, Bounds(least=3)] = 50_000
    """K, the number of tokens of a vocabulary."""
    corpus: float = 1e7
    """N, the number of words; every token occurs at least once."""
    exponents: Several[Annotated[float, Bounds(above=0, below=4)]] = (0.8, 1.0, 1.2)
    """s, the exponents of the counts 1/(k + 2.7)^s."""
    vocabulary_budgets: Interval = (1e-3, 30.0)
    """Smallest and largest E of the vocabularies."""
    profiles: Annotated[tuple[str, ...], Distinct(tuple(PROFILES))] = tuple(PROFILES)
    """Names of the long-tailed size profiles."""
    profile_budgets: Interval = (0.03, 30.0)
    """Smallest and largest E of the profiles."""
    num_budgets: TwoOrMore = 15
    """Number of values of E, for the vocabularies and for the profiles."""
    contours: Several[Count] = (64, 256, 768, 4096)
    """Values of p for which the phase map shows whether the convex optimum fits."""
    merge_tolerance: Annotated[float, Bounds(least=0, below=1)] = 0.1
    """Counts with at most this relative difference are merged."""
    out: Path = Path("results/vocabularies")
    """Folder in which the results are written."""


PRESETS = {
    "default": Config(),
    "quick": Config(
        tokens=300,
        corpus=1e4,
        exponents=(0.8, 1.2),
        num_budgets=4,
        contours=(16, 64),
        profiles=("CIFAR-100-LT",),
        merge_tolerance=0.3,
    ),
    "cpu": Config(
        exponents=tuple(round(0.5 + 0.1 * step, 1) for step in range(14)),
        num_budgets=46,
        merge_tolerance=0.05,
        out=Path("results/vocabularies/cpu"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_numbers(config, "corpus", least=config.tokens)
    if len(config.exponents) < 2:
        raise ValueError(
            f"--exponents must be at least two values, got {report.shown(config.exponents)}"
        )


def counted_rows(
    config: Config, about: dict[str, Any], counts: np.ndarray, ends: tuple[float, float]
) -> list[dict[str, Any]]:
    """The rows of one vocabulary or profile, over the budget."""
    budgets = np.geomspace(*ends, config.num_budgets)
    return [about | row for row in vocabulary_rows(counts, budgets, config.merge_tolerance)]


def run(config: Config) -> Results:
    """The table of each part, and what it says."""
    rows, count = partial(counted_rows, config), partial(zipf_counts, config.tokens, config.corpus)
    words = [({"exponent": s}, count(s), config.vocabulary_budgets) for s in config.exponents]
    ends, names = config.profile_budgets, config.profiles
    known = [({"profile": name}, PROFILES[name].counts(), ends) for name in names]
    tasks = {
        "vocabularies": [partial(rows, *own) for own in words],
        "profiles": [partial(rows, *own) for own in known],
    }
    tables = computed({part: own for part, own in tasks.items() if part in config.parts})
    fitting = partial(summarise_vocabularies, contours=config.contours)
    summaries = {
        "vocabularies": (fitting, f"Vocabularies of {config.tokens:,} tokens"),
        "profiles": (summarise_profiles, "Long-tailed size profiles"),
    }
    said = {part: summaries[part][0](table) for part, table in tables.items()}
    return Results(tables, said, [(summaries[part][1], said[part]) for part in tables])


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """A figure of each part."""
    drawn: dict[str, Callable[[pd.DataFrame], Figure]] = {
        "vocabularies": partial(draw_vocabularies, contours=config.contours),
        "profiles": draw_profiles,
    }
    return {part: drawn[part](table) for part, table in tables.items()}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw, every_core=False).command(__doc__)
