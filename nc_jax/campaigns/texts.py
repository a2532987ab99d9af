"""Runs of language models, and what else takes long: each kept when it is done.

An item is a table in a file of its own, named by a digest of all that it depends on.
Whoever asks for it again gets the table that is there.
"""

import hashlib
import importlib.metadata
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nc_jax import report
from nc_jax.training.text_loop import BROKEN, TextTrainer
from nc_jax.training.text_measures import Looked, MeasuredText, measure_text
from nc_jax.training.text_recipe import TextRecipe


def kept(folder: Path, key: Mapping[str, Any], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table that is there for a key, or a new one, which is stored.

    Args:
        folder: of all items.
        key: JSON; all that the table depends on besides the version of nc_jax.
        make: computes it.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps([importlib.metadata.version("nc-jax"), dict(key)], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    if (folder / f"{name}.parquet").exists():
        try:
            return report.read_table(folder, name)
        except ValueError as error:
            warnings.warn(f"{error}; computed again", stacklevel=2)
    made = make()
    report.write_table(made, folder, name)
    return made


def train_text(
    trainer: TextTrainer,
    recipe: TextRecipe,
    seed: int,
    moments: Sequence[int],
    look: Looked,
    watch: Callable[[int, int], None],
) -> pd.DataFrame:
    """Measures through one run.

    Args:
        trainer: of the network and optimiser.
        recipe: of the run.
        seed: of weights and windows.
        moments: steps to measure at, besides the first and the last.
        look: how to measure.
        watch: called with steps and with runs that broke down, as they come.

    Returns:
        One row a moment: ``step``, ``status`` ('trained' or 'broke down'), ``loss``, the
        numbers of :func:`nc_jax.training.text_measures.measure_text`, and as lists
        ``bin_norms``, ``bin_cosines`` and ``bin_merged`` [B], and at the last step ``norms`` [V].
        A run that broke down ends with a row without measures.
    """
    rows, before = [], 0
    for state in trainer.train(recipe, seed, moments):
        step, broken = int(state.step), state.status == BROKEN
        row: dict[str, Any] = {"step": step, "status": state.status, "loss": float(state.loss)}
        if not broken:
            row |= as_row(measure_text(trainer, state, look))
            row["norms"] = row["norms"] if step == recipe.steps else None
        rows.append(row)
        watch((recipe.steps if broken else step) - before, int(broken))
        before = step
    return pd.DataFrame(rows)


def as_row(measured: MeasuredText | Any) -> dict[str, Any]:
    """A table's row of a head that was measured or predicted."""
    binned = {f"bin_{name}": list(own) for name, own in measured.binned._asdict().items()}
    return {**measured.numbers, "norms": list(measured.norms), **binned}
