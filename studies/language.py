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
import itertools
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from nc_jax import report
from nc_jax.campaigns import as_row, kept, train_text
from nc_jax.datasets import Text, context_rows, load_text
from nc_jax.metrics.tokens import frequency_bins
from nc_jax.networks import Transformer
from nc_jax.prediction.language import TOKEN_SURROGATES, TokenTask, predict_tokens
from nc_jax.prediction.rows import RUN_KEYS, compare_rows, summarise_rows, verdict_on_rows
from nc_jax.report.language import draw_courses, draw_rows
from nc_jax.training.text_loop import BROKEN, TRAINED, TextTrainer
from nc_jax.training.text_measures import Looked
from nc_jax.training.text_recipe import DECAYED, OPTIMISERS, TextRecipe

HEADS = ("untied", "tied")
# Largest number of surrogates solved at the same time.
SOLVES = 4


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study: text, network, training and surrogates."""

    text_dir: Path | None = None
    """Folder with .py or .txt files; by default Python's standard library is read."""
    train_tokens: int = 200_000
    """Largest number of tokens of the training text."""
    test_tokens: int = 30_000
    """Largest number of tokens of the test text, taken from held-out files."""
    vocabulary: int = 2000
    """V, the size of the vocabulary; all other tokens are mapped to a single one."""
    width: int = 64
    """p, the dimension of the features."""
    attention_heads: int = 4
    """Number of attention heads in each block."""
    blocks: int = 1
    """Number of blocks of the transformer."""
    context: int = 32
    """Context length: number of tokens that the network sees at once."""
    heads: tuple[str, ...] = HEADS
    """Whether the head is a separate matrix (untied) or the embedding (tied)."""
    weight_decays: tuple[str, ...] = ("sgd:0.001", "sgd:0.003", "sgd:0.01", "adamw:0.1")
    """λ of each optimiser: sgd, whose decay is a penalty in the gradient, or adamw."""
    sgd_rate: float = 0.5
    """Largest learning rate of SGD."""
    adamw_rate: float = 0.003
    """Largest learning rate of AdamW."""
    momentum: float = 0.9
    """Momentum of SGD."""
    decayed: str = "all"
    """Whether weight decay acts on all parameters, or on the head and the norm before it."""
    steps: int = 500
    """Number of steps of each run."""
    batch: int = 32
    """Batch size: number of windows in each step."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of weights and windows; one run each."""
    measures: int = 6
    """Number of measurements after the start of a run; the last is at its end."""
    places: int = 20_000
    """Largest number of positions, in training and in test text, on which a run is measured."""
    bins: int = 8
    """Number of frequency bins, of equal ratio."""
    rare: float = 0.25
    """Share of the vocabulary that counts as rare: its least frequent tokens."""
    merged: float = 0.02
    """Rows count as merged if their distance is below this share of the longest row's length."""
    surrogates: tuple[str, ...] = TOKEN_SURROGATES
    """Surrogates to compare the runs with."""
    groups: int = 60
    """G, largest number of groups of tokens with nearly equal counts in the hard models."""
    rows: int = 64
    """J, number of clusters of contexts in the soft models."""
    iterations: int = 400
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


def decays_of(config: Config) -> list[tuple[str, float]]:
    """Optimiser and λ of each choice; ValueError for an invalid choice."""
    found = []
    for choice in config.weight_decays:
        optimiser, _, number = choice.partition(":")
        try:
            decay = float(number)
        except ValueError:
            decay = math.nan
        if optimiser not in OPTIMISERS or not 0 <= decay < math.inf:
            known = " or ".join(OPTIMISERS)
            raise ValueError(
                f"--weight-decays must be {known} with a number, as in sgd:0.001; got {choice!r}"
            )
        found.append((optimiser, decay))
    if len(set(found)) < len(found):
        raise ValueError(f"--weight-decays must be distinct, got {config.weight_decays}")
    return found


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_distinct(config, "heads", known=HEADS)
    report.require_distinct(config, "surrogates", known=TOKEN_SURROGATES)
    report.require_distinct(config, "weight_decays", "seeds")
    report.require_numbers(config, "vocabulary", least=3)
    report.require_numbers(config, "rows", least=2, most=config.vocabulary)
    counts = ["width", "attention_heads", "blocks", "steps", "batch", "measures", "places", "bins"]
    report.require_numbers(config, *counts, "groups", "iterations", least=1)
    report.require_numbers(config, "context", least=2)
    report.require_numbers(config, "train_tokens", "test_tokens", least=config.context + 2)
    report.require_numbers(config, "sgd_rate", "adamw_rate", above=0)
    report.require_numbers(config, "rare", "merged", above=0, below=1)
    report.require_numbers(config, "momentum", least=0, below=1)
    report.require_numbers(config, "seeds", least=0)
    if config.decayed not in DECAYED:
        raise ValueError(f"--decayed must be one of {', '.join(DECAYED)}, got {config.decayed!r}")
    if config.width % config.attention_heads:
        raise ValueError(f"--width must be a multiple of --attention-heads, got {config.width}")
    for optimiser, decay in decays_of(config):
        if not any(applies(surrogate, optimiser, decay) for surrogate in config.surrogates):
            raise ValueError(
                f"--surrogates must hold one with measured budgets for {optimiser}:{decay:g}; from "
                "weight decay alone only runs of sgd with a positive one are predicted"
            )


def applies(surrogate: str, optimiser: str, decay: float) -> bool:
    """Whether the surrogate exists for this run: from weight decay only if that is a penalty."""
    return surrogate.endswith("budgets") or (optimiser == "sgd" and decay > 0)


def look_at(config: Config, text: Text) -> Looked:
    """Frequency bins, rare tokens and clusters of contexts."""
    rare = np.zeros(config.vocabulary, bool)
    number = math.ceil(config.rare * config.vocabulary)
    rare[np.argsort(text.counts, kind="stable")[:number]] = True
    contexts = context_rows(text.train, config.vocabulary, config.rows)
    bins = frequency_bins(text.counts, config.bins)
    return Looked(text, contexts, bins, rare, config.merged, config.places)


def recipe_of(config: Config, optimiser: str, decay: float) -> TextRecipe:
    """The training recipe of a run."""
    rate = config.sgd_rate if optimiser == "sgd" else config.adamw_rate
    return TextRecipe(
        optimiser,
        rate,
        decay,
        config.decayed,
        config.momentum,
        config.steps,
        batch=config.batch,
    )


def _build(config: Config, head: str, key: Any) -> Transformer:
    return Transformer(
        config.vocabulary,
        config.width,
        config.attention_heads,
        config.blocks,
        config.context,
        key,
        tied=head == "tied",
    )


def _kept_of(config: Config, look: Looked, names: tuple[str, ...]) -> dict[str, Any]:
    """The options on which tables depend, for their digest."""
    measured = ("vocabulary", "bins", "rare", "merged", "rows")
    own = {name: getattr(config, name) for name in (*measured, *names)}
    return own | {"text": look.text.digest, "tokens": [len(look.text.train), len(look.text.test)]}


def train_runs(config: Config, look: Looked) -> Any:
    """One row for every run and measurement."""
    shape = ("width", "attention_heads", "blocks", "context", "places", "measures")
    least = max(1, config.steps // 100)
    moments = np.unique(np.geomspace(least, config.steps, config.measures).round().astype(int))
    trainers: dict[tuple[str, str], TextTrainer] = {}
    runs = list(itertools.product(decays_of(config), config.heads, config.seeds))

    def one(run: Any, watch: Any) -> pd.DataFrame:
        (optimiser, decay), head, seed = run
        recipe = recipe_of(config, optimiser, decay)
        about = dict(zip(RUN_KEYS, (optimiser, head, decay, seed), strict=True))
        key = _kept_of(config, look, shape) | about | dataclasses.asdict(recipe)
        trained = False

        def make() -> pd.DataFrame:
            nonlocal trained
            trained = True
            place = (optimiser, head)
            if place not in trainers:
                build = partial(_build, config, head)
                trainers[place] = TextTrainer(build, look.text.train, recipe)
            return train_text(trainers[place], recipe, seed, moments.tolist(), look, watch)

        table = kept(config.out / "runs", key, make)
        if not trained:
            watch(config.steps, 0)
        return table.assign(**about)

    with report.points_bar(len(runs) * config.steps, "steps", "runs broke down") as watch:
        # The first call reports how much was done before.
        watch(0, 0)
        tables = [one(run, watch) for run in runs]
    table = pd.concat(tables, ignore_index=True)
    return table[[*RUN_KEYS, *table.columns.drop(RUN_KEYS)]]


def predict_runs(config: Config, look: Looked, ends: Any) -> pd.DataFrame:
    """One row for every trained run and every surrogate that exists for it."""
    task = TokenTask(
        look.text.counts.astype(float),
        look.contexts,
        config.width,
        look.bins,
        look.rare,
        config.merged,
        config.groups,
        config.iterations,
    )
    energies = ("weight_energy", "feature_energy", "context_energy")

    def key_of(case: tuple[dict[str, Any], str]) -> dict[str, Any]:
        run, surrogate = case
        known = energies if surrogate.endswith("budgets") else ("weight_decay",)
        key = _kept_of(config, look, ("width", "groups", "iterations"))
        return key | {"surrogate": surrogate} | {name: float(run[name]) for name in known}

    def one(case: tuple[dict[str, Any], str]) -> pd.DataFrame:
        run, surrogate = case

        def make() -> pd.DataFrame:
            found = predict_tokens(surrogate, task, run["weight_decay"], run)
            return pd.DataFrame([as_row(found)])

        about = {name: run[name] for name in RUN_KEYS}
        return kept(config.out / "runs", key_of(case), make).assign(surrogate=surrogate, **about)

    cases: list[Any] = [
        (run, surrogate)
        for run, surrogate in itertools.product(ends.to_dict("records"), config.surrogates)
        if applies(surrogate, run["optimiser"], run["weight_decay"])
    ]
    # Runs of one weight decay share surrogates. Each solve uses one core.
    different = {str(key_of(case)): case for case in cases}
    with ThreadPoolExecutor(min(SOLVES, os.cpu_count() or 1)) as pool:
        solved = [pool.submit(one, case) for case in different.values()]
        report.map_with_bar(lambda future: future.result(), solved, "surrogates")
    return pd.concat([one(case) for case in cases], ignore_index=True)


def main(config: Config) -> None:
    """Trains, solves, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    try:
        text = load_text(
            config.vocabulary, config.train_tokens, config.test_tokens, config.text_dir
        )
    except ValueError as error:
        # Only these options decide what the text holds.
        raise ValueError(f"--text-dir, --vocabulary or --train-tokens: {error}") from error
    look = look_at(config, text)
    through = train_runs(config, look)
    whole = through[through["status"] == TRAINED]
    ends = whole[whole["step"] == config.steps].reset_index(drop=True)
    if not len(ends):
        raise ValueError("every run broke down: lower --sgd-rate or --adamw-rate")
    predicted = predict_runs(config, look, ends)
    compared = compare_rows(ends, predicted, look.rare)
    size = np.bincount(look.bins)
    bins = pd.DataFrame({"tokens": size, "count": np.bincount(look.bins, text.counts) / size})
    tables = {"table": through, "predicted": predicted, "compared": compared, "bins": bins}
    for name, table in tables.items():
        report.write_table(table, config.out, name)
    stored = {name: report.read_table(config.out, name) for name in tables}
    summary = summarise_rows(stored["compared"])
    report.write_summary(summary, config.out)
    draw(stored, config)
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time, {"text": text.digest})
    rare = text.counts[look.rare]
    print(
        f"text: {text.files} files, {len(text.train)} tokens, V = {config.vocabulary}; "
        f"{look.rare.sum()} rare tokens occur {rare.min()} to {rare.max()} times in it"
    )
    report.print_table(summary, "Rows of the head, measured and predicted (rare: rare tokens)")
    said = verdict_on_rows(compared, ends, look.contexts.entropy)
    report.write_atomically(config.out / "verdict.txt", lambda file: file.write_text(said + "\n"))
    print(said)
    for _, run in through[through["status"] == BROKEN].iterrows():
        print(f"broke down in step {run['step']}: {', '.join(str(run[name]) for name in RUN_KEYS)}")
    print(f"{len(ends)} runs, {wall_time:.1f} s; results in {config.out}/")


def draw(stored: dict[str, Any], config: Config) -> None:
    """Draws all figures from the stored tables."""
    through, predicted = stored["table"], stored["predicted"]
    whole = through[through["status"] == TRAINED]
    ends = whole[whole["step"] == config.steps]
    for head, own in ends.groupby("head"):
        beside = predicted[predicted["head"] == head]
        figure = draw_rows(own, beside, stored["bins"]["count"].to_numpy())
        report.save_figure(figure, config.out, f"rows-{head}")
    report.save_figure(draw_courses(whole, predicted), config.out, "training")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
