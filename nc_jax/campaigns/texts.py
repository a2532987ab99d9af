"""Runs of language models and other long computations; each result is stored when it is done.

An item is a table in its own file, named by digests of its options and of its code.
If it is requested again, the stored table is returned, unless it is of other code.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nc_jax.report.tables import read_table, write_table
from nc_jax.source import code_digest, warn_of_other_code
from nc_jax.training.text_loop import BROKEN, TextTrainer
from nc_jax.training.text_measures import Looked, MeasuredText, measure_text
from nc_jax.training.text_recipe import TextRecipe


def kept(folder: Path, key: Mapping[str, Any], make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The stored table for a key, or a new one, which is then stored.

    Args:
        folder: the folder of all items.
        key: JSON; all options that the table depends on.
        make: computes the table; it is defined in a file, because a stored table is reused
            only for the same code.

    Raises:
        ValueError: ``make`` is not defined in a file.
        OSError: the folder cannot be written.
    """
    text, code = json.dumps(dict(key), sort_keys=True), code_digest(make, train_text)
    name = f"{hashlib.sha256(text.encode()).hexdigest()[:16]}-{code}"
    if (folder / f"{name}.parquet").exists():
        try:
            return read_table(folder, name)
        except ValueError as error:
            warnings.warn(f"{error}; computed again", stacklevel=2)
    others = [path for path in folder.glob("*.parquet") if not path.stem.endswith(code)]
    if others:
        warn_of_other_code(folder, f"{len(others)} table(s)")
    made = make()
    write_table(made, folder, name)
    return made


def train_text(
    trainer: TextTrainer,
    recipe: TextRecipe,
    seed: int,
    moments: Sequence[int],
    look: Looked,
    watch: Callable[[int, int], None],
) -> pd.DataFrame:
    """Trains one run and returns its measures.

    Args:
        trainer: the trainer of the network and optimiser.
        recipe: recipe of the run.
        seed: seed of weights and windows.
        moments: steps at which to measure, besides the first and the last.
        look: settings of the measures.
        watch: called with the numbers of new steps and of new runs that broke down.

    Returns:
        One row for each moment: ``step``, ``status`` ('trained' or 'broke down'), ``loss``, the
        numbers of :func:`nc_jax.training.measure_text`, and as lists
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
    """The row of a table for a head that was measured or predicted."""
    binned = {f"bin_{name}": list(own) for name, own in measured.binned._asdict().items()}
    return {**measured.numbers, "norms": list(measured.norms), **binned}
