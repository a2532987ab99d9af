"""The options of studies that train language models, and the runs that they describe."""

import dataclasses
import itertools
from pathlib import Path
from typing import Annotated, Literal

from nc_jax.campaigns.text_runs import TextRun, optimisers_of
from nc_jax.datasets import Text, load_text
from nc_jax.prediction.rows import RUN_KEYS
from nc_jax.report.options import (
    Bounds,
    Count,
    Distinct,
    NonNegative,
    Positive,
    Several,
    TwoOrMore,
    require_numbers,
)
from nc_jax.training.text_recipe import TextRecipe

HEADS = ("untied", "tied")


@dataclasses.dataclass(frozen=True)
class TextOptions:
    """Options of text, network and training."""

    text_dir: Path | None = None
    """Folder with .py or .txt files; by default Python's standard library is read."""
    train_tokens: int = 200_000
    """Largest number of tokens of the training text."""
    test_tokens: int = 30_000
    """Largest number of tokens of the test text, taken from held-out files."""
    vocabulary: Annotated[int, Bounds(least=3)] = 2000
    """V, the size of the vocabulary; all other tokens are mapped to a single one."""
    width: Count = 64
    """p, the dimension of the features."""
    attention_heads: Count = 4
    """Number of attention heads in each block."""
    blocks: Count = 1
    """Number of blocks of the transformer."""
    context: TwoOrMore = 32
    """Context length: number of tokens that the network sees at once."""
    heads: Annotated[tuple[str, ...], Distinct(HEADS)] = HEADS
    """Whether the head is a separate matrix (untied) or the embedding (tied)."""
    weight_decays: Several[str] = ("sgd:0.001", "sgd:0.003", "sgd:0.01", "adamw:0.1")
    """λ of each optimiser: sgd, whose decay is a penalty in the gradient, or adamw."""
    sgd_rate: Positive = 0.5
    """Largest learning rate of SGD."""
    adamw_rate: Positive = 0.003
    """Largest learning rate of AdamW."""
    momentum: Annotated[float, Bounds(least=0, below=1)] = 0.9
    """Momentum of SGD."""
    decayed: Literal["all", "head"] = "all"
    """Whether weight decay acts on all parameters, or on the head and the norm before it."""
    steps: Count = 500
    """Number of steps of each run."""
    batch: Count = 32
    """Batch size: number of windows in each step."""
    seeds: Several[NonNegative[int]] = (0,)
    """Seeds of weights and windows; one run each."""
    measures: Count = 6
    """Number of measurements after the start of a run; the last is at its end."""
    out: Path = Path("results")
    """Folder in which the results are written."""


def check_text_options(options: TextOptions) -> None:
    """Checks the options before any text is read.

    Raises:
        ValueError: naming the option that is invalid.
    """
    require_numbers(options, "train_tokens", "test_tokens", least=options.context + 2)
    if options.width % options.attention_heads:
        raise ValueError(f"--width must be a multiple of --attention-heads, got {options.width}")
    optimisers_of(options.weight_decays)


def read_text(options: TextOptions) -> Text:
    """The text of a study.

    Raises:
        ValueError: naming the options that decide what the text holds.
    """
    sizes = options.vocabulary, options.train_tokens, options.test_tokens
    try:
        return load_text(*sizes, options.text_dir)
    except ValueError as error:
        raise ValueError(f"--text-dir, --vocabulary or --train-tokens: {error}") from error


def text_runs_of(options: TextOptions) -> list[TextRun]:
    """All runs: every optimiser and λ with every kind of head and seed."""
    shape = {"vocabulary": options.vocabulary, "width": options.width}
    shape |= {"heads": options.attention_heads, "blocks": options.blocks}
    shape |= {"context": options.context}
    chosen = itertools.product(optimisers_of(options.weight_decays), options.heads, options.seeds)
    runs = []
    for (optimiser, decay), head, seed in chosen:
        about = dict(zip(RUN_KEYS, (optimiser, head, decay, seed), strict=True))
        rate = options.sgd_rate if optimiser == "sgd" else options.adamw_rate
        rest = options.decayed, options.momentum, options.steps
        recipe = TextRecipe(optimiser, rate, decay, *rest, batch=options.batch)
        runs.append(TextRun(about, shape | {"tied": head == "tied"}, recipe, seed))
    return runs
