"""The runs of a study of language models, and the surrogates of these runs."""

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from nc_jax.campaigns.texts import as_row, kept, train_text
from nc_jax.networks import Transformer
from nc_jax.prediction.language import TokenTask, applies, predict_tokens
from nc_jax.prediction.rows import RUN_KEYS
from nc_jax.report.progress import map_in_threads, points_bar
from nc_jax.training.text_loop import TextTrainer
from nc_jax.training.text_measures import Looked
from nc_jax.training.text_recipe import OPTIMISERS, TextRecipe

# Largest number of surrogates solved at the same time.
SOLVES = 4


@dataclasses.dataclass(frozen=True)
class TextRun:
    """A training run of a language model.

    Attributes:
        about: the columns that describe it in its rows.
        network: the arguments of :class:`nc_jax.networks.Transformer`, without its key.
        recipe: how it is trained.
        seed: seed of weights and windows.
    """

    about: Mapping[str, Any]
    network: Mapping[str, Any]
    recipe: TextRecipe
    seed: int

    def build(self, key: jax.Array) -> Transformer:
        """The network with new random weights."""
        return Transformer(**self.network, key=key)


def optimisers_of(choices: Sequence[str]) -> list[tuple[str, float]]:
    """Optimiser and λ of each choice of --weight-decays, as in 'sgd:0.001'.

    Raises:
        ValueError: an unknown optimiser, a λ that is not a number or negative, or a repetition.
    """
    found = []
    for choice in choices:
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
        raise ValueError(f"--weight-decays must be distinct, got {choices}")
    return found


def train_texts(folder: Path, runs: Sequence[TextRun], look: Looked, measures: int) -> pd.DataFrame:
    """Trains all runs under one progress bar; finished ones are read.

    Args:
        folder: the folder of the finished runs.
        runs: the runs, with the same columns.
        look: settings of the measures.
        measures: number of measurements after the start of a run; the last is at its end.

    Returns:
        The rows of :func:`train_text` of every run, after the columns that describe it.

    Raises:
        OSError: the folder cannot be written.
    """
    trainers: dict[Any, TextTrainer] = {}
    text = look.text
    settings = {"text": text.digest, "tokens": [len(text.train), len(text.test)]}
    settings |= {"look": _digest(look.bins, look.rare, look.contexts.cluster)}
    settings |= {"merged": look.merged, "places": look.places, "measures": measures}

    def one(run: TextRun, watch: Any) -> pd.DataFrame:
        steps, trained = run.recipe.steps, False

        def make() -> pd.DataFrame:
            nonlocal trained
            trained = True
            place = (run.recipe.optimiser, *run.network.items())
            if place not in trainers:
                trainers[place] = TextTrainer(run.build, look.text.train, run.recipe)
            moments = np.unique(np.geomspace(max(1, steps // 100), steps, measures).round())
            chosen = moments.astype(int).tolist()
            return train_text(trainers[place], run.recipe, run.seed, chosen, look, watch)

        key = settings | dict(run.network) | dict(run.about) | dataclasses.asdict(run.recipe)
        table = kept(folder, key, make)
        if not trained:
            watch(steps, 0)
        return table.assign(**run.about)

    steps = sum(run.recipe.steps for run in runs)
    with points_bar(steps, "steps", "runs broke down") as watch:
        # The first call reports how much was done before.
        watch(0, 0)
        table: Any = pd.concat([one(run, watch) for run in runs], ignore_index=True)
    names = list(runs[0].about)
    return table[[*names, *table.columns.drop(names)]]


def predict_texts(
    folder: Path, ends: pd.DataFrame, surrogates: Sequence[str], task: TokenTask
) -> pd.DataFrame:
    """One row for every run and every surrogate that exists for it.

    Args:
        folder: the folder of the surrogates that are solved.
        ends: the last rows of the runs, see :func:`train_texts`, with the columns
            :data:`nc_jax.prediction.rows.RUN_KEYS`.
        surrogates: names in :data:`nc_jax.prediction.language.TOKEN_SURROGATES`.
        task: what is known before training.

    Raises:
        OSError: the folder cannot be written.
    """
    energies = ("weight_energy", "feature_energy", "context_energy")
    names = ("width", "merged", "groups", "iterations")
    settings = {name: getattr(task, name) for name in names}
    settings |= {"task": _digest(task.counts, task.contexts.targets, task.bins, task.rare)}

    def key_of(case: tuple[dict[str, Any], str]) -> dict[str, Any]:
        run, surrogate = case
        known = energies if surrogate.endswith("budgets") else ("weight_decay",)
        return settings | {"surrogate": surrogate} | {name: float(run[name]) for name in known}

    def one(case: tuple[dict[str, Any], str]) -> pd.DataFrame:
        run, surrogate = case

        def make() -> pd.DataFrame:
            found = predict_tokens(surrogate, task, run["weight_decay"], run)
            return pd.DataFrame([as_row(found)])

        about = {name: run[name] for name in RUN_KEYS}
        return kept(folder, key_of(case), make).assign(surrogate=surrogate, **about)

    cases: list[Any] = [
        (run, surrogate)
        for run, surrogate in itertools.product(ends.to_dict("records"), surrogates)
        if applies(surrogate, run["optimiser"], run["weight_decay"])
    ]
    # Runs of one weight decay share surrogates. Each solve uses one core.
    different = {str(key_of(case)): case for case in cases}
    map_in_threads(one, list(different.values()), "surrogates", SOLVES)
    return pd.concat([one(case) for case in cases], ignore_index=True)


def _digest(*arrays: Any) -> str:
    """A digest of arrays that rows depend on."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
