"""What happens to rare tokens in the head of a language model, and what predicts it?

A small causal transformer learns to predict the next token of Python's own standard
library (or of the files in --text-dir); nothing is downloaded. Three quantities are plotted
against the frequency of a token: the length of its row in the head, the mean cosine of rows of
equal frequency, and the share of rows that have merged with another. They are compared with
surrogates at the end of training, and shown throughout training for several weight decays.

Surrogates treat each position as a sample of its next token (hard targets), or each cluster
of contexts with the same last token as a sample with a distribution over next tokens (soft
targets), with the budgets of the trained network or from the weight decay alone. Runs of AdamW
have no prediction from weight decay, because AdamW's decay is not a penalty in the objective.

    python studies/language.py
    python studies/language.py --vocabulary 1000 --weight-decays sgd:0.002 adamw:0.1 --heads untied
    python studies/language.py --preset cpu

Time on two CPU cores: 3 to 5 minutes; with --preset cpu an hour or two. An interrupted
study resumes when it is started again. The preset 'paper' is for a GPU. Texts differ between
versions of Python: provenance.json holds a digest of the text that was used.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax import report
from nc_jax.campaigns import (
    TextOptions,
    check_text_options,
    optimisers_of,
    predict_texts,
    read_text,
    text_runs_of,
    train_texts,
)
from nc_jax.prediction.language import TOKEN_SURROGATES, TokenTask, applies
from nc_jax.prediction.rows import RUN_KEYS, compare_rows, summarise_rows, verdict_on_rows
from nc_jax.report import Count, Distinct, Share, TwoOrMore
from nc_jax.report.language import draw_courses, draw_rows
from nc_jax.study import Results, Study
from nc_jax.training.text_loop import BROKEN, TRAINED
from nc_jax.training.text_measures import look_at


@dataclasses.dataclass(frozen=True)
class Config(TextOptions):
    """Options of this study: text, network, training and surrogates."""

    places: Count = 20_000
    """Largest number of positions, in training and in test text, on which a run is measured."""
    bins: Count = 8
    """Number of frequency bins, of equal ratio."""
    rare: Share = 0.25
    """Share of the vocabulary that counts as rare: its least frequent tokens."""
    merged: Share = 0.02
    """Rows count as merged if their distance is below this share of the longest row's length."""
    surrogates: Annotated[tuple[str, ...], Distinct(TOKEN_SURROGATES)] = TOKEN_SURROGATES
    """Surrogates to compare the runs with."""
    groups: Count = 60
    """G, largest number of groups of tokens with nearly equal counts in the hard models."""
    rows: TwoOrMore = 64
    """J, number of clusters of contexts in the soft models."""
    iterations: Count = 400
    """Largest number of iterations of the solver of a soft model."""
    out: Path = Path("results/language/quick")
    """Folder in which the results are written."""


PRESETS = {
    "quick": Config(),
    "cpu": Config(
        train_tokens=1_000_000,
        test_tokens=100_000,
        vocabulary=4000,
        width=96,
        blocks=2,
        context=64,
        weight_decays=("sgd:0.0003", "sgd:0.001", "sgd:0.003", "sgd:0.01", "adamw:0.1"),
        steps=3000,
        measures=8,
        places=40_000,
        rows=97,
        iterations=1500,
        out=Path("results/language/cpu"),
    ),
    "paper": Config(
        train_tokens=2_500_000,
        test_tokens=200_000,
        vocabulary=8000,
        width=256,
        attention_heads=8,
        blocks=2,
        context=128,
        weight_decays=("sgd:0.0001", "sgd:0.0003", "sgd:0.001", "sgd:0.003", "adamw:0.1"),
        steps=40_000,
        batch=64,
        seeds=(0, 1, 2),
        measures=12,
        places=100_000,
        bins=12,
        rows=257,
        iterations=5000,
        out=Path("results/language/paper"),
    ),
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    check_text_options(config)
    report.require_numbers(config, "rows", most=config.vocabulary)
    for optimiser, decay in optimisers_of(config.weight_decays):
        if not any(applies(surrogate, optimiser, decay) for surrogate in config.surrogates):
            raise ValueError(
                f"--surrogates must hold one with measured budgets for {optimiser}:{decay:g}; from "
                "weight decay alone only runs of sgd with a positive one are predicted"
            )


def run(config: Config) -> Results:
    """Trains, solves the surrogates of every run, and compares."""
    text, folder = read_text(config), config.out / "runs"
    looked = config.rows, config.bins, config.rare, config.merged, config.places
    look = look_at(text, *looked)
    through: Any = train_texts(folder, text_runs_of(config), look, config.measures)
    whole: Any = through[through["status"] == TRAINED]
    ends = whole[whole["step"] == config.steps].reset_index(drop=True)
    if not len(ends):
        raise ValueError("every run broke down: lower --sgd-rate or --adamw-rate")
    counts, sizes = text.counts.astype(float), (config.groups, config.iterations)
    heads = (config.width, look.bins, look.rare, config.merged)
    task = TokenTask(counts, look.contexts, *heads, *sizes)
    predicted = predict_texts(folder, ends, config.surrogates, task)
    compared = compare_rows(ends, predicted, look.rare)
    size = np.bincount(look.bins)
    bins = pd.DataFrame({"tokens": size, "count": np.bincount(look.bins, text.counts) / size})
    summary = summarise_rows(compared)
    said = verdict_on_rows(compared, ends, look.contexts.entropy)
    report.write_atomically(config.out / "verdict.txt", lambda file: file.write_text(said + "\n"))
    rare = text.counts[look.rare]
    shown: list[Any] = [
        f"text: {text.files} files, {len(text.train)} tokens, V = {config.vocabulary}; "
        f"{look.rare.sum()} rare tokens occur {rare.min()} to {rare.max()} times in it",
        ("Rows of the head, measured and predicted (rare: rare tokens)", summary),
        said,
    ]
    for _, lost in through[through["status"] == BROKEN].iterrows():
        names = ", ".join(str(lost[name]) for name in RUN_KEYS)
        shown.append(f"broke down in step {lost['step']}: {names}")
    tables = {"table": through, "predicted": predicted, "compared": compared, "bins": bins}
    count, data = f"{len(ends)} runs", {"text": text.digest}
    return Results(tables, {"table": summary}, shown, count, data)


def draw(config: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Rows of each kind of head against frequency, and measures through training."""
    through: Any = tables["table"]
    predicted = tables["predicted"]
    whole = through[through["status"] == TRAINED]
    ends = whole[whole["step"] == config.steps]
    counts = tables["bins"]["count"].to_numpy()
    figures = {
        f"rows-{head}": draw_rows(own, predicted[predicted["head"] == head], counts)
        for head, own in ends.groupby("head")
    }
    return figures | {"training": draw_courses(whole, predicted)}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw, every_core=False).command(__doc__)
