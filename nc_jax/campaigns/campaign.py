"""Many trainings of one network: which are finished, how they are grouped, their measures.

A group of trainings has a folder: ``measures.parquet``, which grows during training,
checkpoints, and ``table.parquet`` at the end. If the same training is requested again, in any
list, the stored rows are returned, unless they are of other code.
"""

import dataclasses
import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from nc_jax.campaigns.together import fastest_trainer
from nc_jax.files import prepare_folder, write_atomically
from nc_jax.report.tables import read_table, write_table
from nc_jax.source import code_digest, warn_of_other_code
from nc_jax.training.images import Images
from nc_jax.training.loop import Progress, Run, Trainer, train
from nc_jax.training.measures import measure
from nc_jax.training.steps import Weights

MEASURES, TABLE, CHECKPOINTS = "measures", "table", "checkpoints"
TOGETHER = "together.json"
TRAINED, BROKEN = "trained", "broke down"


@dataclasses.dataclass(frozen=True)
class Training:
    """A training run of a study.

    Attributes:
        about: the columns that describe it in its rows.
        run: how it is trained.
        subset: the images on which it is measured, none repeated.
        minority: the indices of its small classes.
    """

    about: Mapping[str, Any]
    run: Run
    subset: np.ndarray
    minority: tuple[int, ...] = ()


Measure = Callable[[Trainer, Progress, Training, Images], list[dict[str, Any]]]


def measure_collapse(
    trainer: Trainer, state: Progress, training: Training, test: Images
) -> list[dict[str, Any]]:
    """One row of :func:`nc_jax.training.measure`."""
    minority = np.asarray(training.minority, int)
    return [measure(trainer, state.fetch(), training.subset, test, minority)]


@dataclasses.dataclass(frozen=True)
class Campaign:
    """The settings that trainings share.

    Attributes:
        settings: JSON; everything the numbers depend on besides the training itself: data,
            network, width.
        make: a function from a number of runs to a trainer of that many at the same time.
        folder: the folder of all groups.
        test: the held-out images.
        when: epochs after which a run is measured; its end is always measured.
        checkpoint: number of epochs between checkpoints.
        measure: a function from a trainer, its state, a training and ``test`` to rows of
            measures; it is defined in a file, because stored rows are found by its name and
            reused only for the same code.
    """

    settings: Mapping[str, Any]
    make: Callable[[int], Trainer]
    folder: Path
    test: Images
    when: frozenset[int]
    checkpoint: int
    measure: Measure = measure_collapse


def train_all(
    campaign: Campaign, trainings: Sequence[Training], watch: Callable[[int, int], None]
) -> pd.DataFrame:
    """Trains all runs and returns their measures.

    Args:
        campaign: the settings that the trainings share.
        trainings: the runs to train, or to read if they are already finished.
        watch: called with the numbers of new images and of new runs that broke down.

    Returns:
        For every training, in the given order, its rows by epoch: ``about``,
        ``epoch``, ``status`` ('trained' or 'broke down'), ``loss``, and the columns of the
        campaign's ``measure``. A run that broke down ends with
        the epoch in which it did.

    Raises:
        ValueError: the campaign's functions are not defined in a file.
        OSError: the folder cannot be written; everything written so far is intact.
    """
    names = [name_of(campaign, training) for training in trainings]
    found = finished_rows(campaign.folder, names)
    todo = [i for i, name in enumerate(names) if name not in found]
    watch(sum(images_of(trainings[i]) for i, name in enumerate(names) if name in found), 0)
    # Sorted by length, so that runs trained together take about equally long.
    todo.sort(key=lambda i: -len(trainings[i].run.indices))
    if todo:
        trainer = trainer_of(campaign, [trainings[i].run for i in todo], len(names))
        for first in range(0, len(todo), trainer.together):
            own = todo[first : first + trainer.together]
            group = {names[i]: trainings[i] for i in own}
            rows, _, checkpoints = train_group(campaign, trainer, group, watch)
            shutil.rmtree(checkpoints, ignore_errors=True)
            found |= rows
    return pd.concat([found[name] for name in names], ignore_index=True)


def images_of(training: Training) -> int:
    """Total number of images that a training processes."""
    return len(training.run.indices) * training.run.recipe.epochs


def name_of(campaign: Campaign, training: Training, before: str = "") -> str:
    """Digests of the options and of the code that a training's rows depend on, as one name.

    ``before`` names the previous leg.
    """
    run = training.run
    weights = None if run.class_weights is None else np.asarray(run.class_weights).tolist()
    text = [
        dict(campaign.settings),
        sorted(campaign.when),
        repr(run.recipe),
        campaign.measure.__qualname__,
    ]
    text += [dict(training.about), training.minority, run.seed, weights]
    text += [before] if before else []
    digest = hashlib.sha256(json.dumps(text, sort_keys=True, default=str).encode())
    # An array converted to text would be rounded.
    for number in jax.tree.leaves(run.recipe.loss):
        digest.update(np.asarray(number, float).tobytes())
    for indices in (run.indices, training.subset):
        digest.update(np.ascontiguousarray(indices, np.int64).tobytes())
    code = code_digest(campaign.make, campaign.measure, train_group)
    return f"{digest.hexdigest()[:16]}-{code}"


def finished_rows(folder: Path, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The rows of the trainings that are finished; warns of those of other code."""
    wanted, found, others = set(names), {}, set()
    codes = tuple({name.rpartition("-")[2] for name in names})
    for path in sorted(folder.glob("*/*.parquet")):
        table = _read(path.parent, path.stem)
        for name, rows in table.groupby("run") if "run" in table else ():
            others |= set() if str(name).endswith(codes) else {name}
            if name in wanted and path.stem == TABLE:
                found[name] = rows.drop(columns="run")
    if others and wanted - set(found):
        warn_of_other_code(folder, f"{len(others)} training(s)")
    return found


def _read(folder: Path, name: str) -> pd.DataFrame:
    """A table if it exists and is intact, otherwise an empty one."""
    if not (folder / f"{name}.parquet").exists():
        return pd.DataFrame()
    try:
        return read_table(folder, name)
    except (OSError, ValueError) as error:
        warnings.warn(f"{error}; computed again", stacklevel=2)
        return pd.DataFrame()


def trainer_of(campaign: Campaign, runs: Sequence[Run], wanted: int) -> Trainer:
    """A trainer with the same number of runs at once as before an interruption, if known."""
    path = campaign.folder / TOGETHER
    machine = f"{jax.default_backend()} {len(jax.local_devices())} {wanted}"
    key = json.dumps([dict(campaign.settings), machine], sort_keys=True, default=str)
    known: dict[str, int] = {}
    try:
        known = json.loads(path.read_text())
        return campaign.make(known[key])
    except (OSError, ValueError, KeyError, TypeError):
        known = known if isinstance(known, dict) else {}
    trainer = fastest_trainer(campaign.make, runs)
    prepare_folder(campaign.folder)
    text = json.dumps(known | {key: trainer.together}, indent=1) + "\n"
    write_atomically(path, lambda file: file.write_text(text))
    return trainer


def train_group(
    campaign: Campaign,
    trainer: Trainer,
    group: Mapping[str, Training],
    watch: Callable[[int, int], None],
    weights: Sequence[Weights] | None = None,
) -> tuple[dict[str, pd.DataFrame], list[Weights], Path]:
    """Trains a group to its end, resuming where it was interrupted.

    Args:
        campaign: the settings that its trainings share.
        trainer: a trainer of at least as many runs at once.
        group: trainings by name.
        watch: see :func:`train_all`.
        weights: initial weights of each training; by default new random ones.

    Returns:
        Rows by name, the weights at the end, and the folder of the checkpoints, which
        the caller must remove.
    """
    digest = hashlib.sha256(" ".join(group).encode()).hexdigest()[:16]
    folder = campaign.folder / digest
    prepare_folder(folder)
    names, trainings = list(group), list(group.values())
    rows = _read(folder, MEASURES).to_dict("records")
    # A chain that was interrupted later comes back here only for the weights.
    rows = rows or _read(folder, TABLE).to_dict("records")
    seen = [0] * len(names)

    def record(state: Progress) -> None:
        name, training = names[state.place], trainings[state.place]
        # A resumed run repeats the epochs since its last checkpoint.
        rows[:] = [row for row in rows if row["run"] != name or row["epoch"] < state.epoch]
        status = TRAINED if math.isfinite(state.loss) else BROKEN
        row = {"run": name, **training.about, "epoch": state.epoch, "status": status}
        row |= {"loss": state.loss}
        measured = campaign.measure(trainer, state, training, campaign.test)
        rows.extend(row | own for own in measured)
        write_table(pd.DataFrame(rows), folder, MEASURES)

    def look(state: Progress) -> None:
        run, finite = trainings[state.place].run, math.isfinite(state.loss)
        last = run.recipe.epochs if not finite else state.epoch
        watch((last - seen[state.place]) * len(run.indices), int(not finite))
        seen[state.place] = last
        if state.epoch in campaign.when or state.epoch == run.recipe.epochs or not finite:
            record(state)

    runs = [training.run for training in trainings]
    checkpoints = folder / CHECKPOINTS
    ends = train(trainer, runs, checkpoints, campaign.checkpoint, look, weights)
    for name, end in zip(names, ends, strict=True):
        # Interrupted between its last checkpoint and its last rows.
        if not any(row["run"] == name and row["epoch"] == end.epoch for row in rows):
            record(end)
    table = pd.DataFrame(rows)
    write_table(table, folder, TABLE)
    (folder / f"{MEASURES}.parquet").unlink(missing_ok=True)
    table = table.sort_values("epoch", kind="stable")
    found = {str(name): own.drop(columns="run") for name, own in table.groupby("run")}
    return found, [end.fetch() for end in ends], checkpoints
