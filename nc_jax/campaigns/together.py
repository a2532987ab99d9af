"""How many runs to train at the same time: measured on the current machine.

One run on each device is always useful. Several vmapped runs on a device are faster if steps
are small (dense layers), but not if convolutions become grouped ones.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence

import jax

from nc_jax.training.loop import Run, Trainer

# Numbers of runs on a device to try, each only if the previous one was faster.
EACH = (1, 4, 16)
# Required speed-up of the next number.
GAIN = 1.1
# Number of batches of a timed epoch, and the shortest duration that is long enough.
BATCHES = 4
SECONDS = 0.2


def fastest_trainer(make: Callable[[int], Trainer], runs: Sequence[Run]) -> Trainer:
    """The trainer that processes the most images per second.

    Args:
        make: a function from a number of runs to a trainer of that many at the same time.
        runs: the runs to be trained; the first ones are used for the trial.

    Returns:
        A trainer; its epoch is already compiled if there was a choice.
    """
    devices = min(len(jax.local_devices()), len(runs))
    best, fastest = make(devices), 0.0
    if devices * EACH[1] > len(runs):
        return best
    for each in EACH:
        count = devices * each
        if count > len(runs):
            break
        trainer = best if each == 1 else make(count)
        try:
            speed = _images_per_second(trainer, runs[:count])
        except jax.errors.JaxRuntimeError:
            # Out of memory: use fewer runs, unless a single one per device is too much.
            if each == 1:
                raise
            break
        if speed < GAIN * fastest:
            break
        best, fastest = trainer, speed
    return best


def _images_per_second(trainer: Trainer, runs: Sequence[Run]) -> float:
    most = BATCHES * trainer.recipe.batch_size
    runs = [
        # As many epochs as are needed for a long enough measurement.
        dataclasses.replace(
            run, indices=run.indices[:most], recipe=dataclasses.replace(run.recipe, epochs=10**6)
        )
        for run in runs
    ]
    epochs = trainer.epochs(runs, trainer.start(runs))
    next(epochs)
    begin = time.perf_counter()
    for number in itertools.count(1):
        if next(epochs, None) is None:
            return 0.0
        spent = time.perf_counter() - begin
        if spent > SECONDS:
            return number * sum(len(run.indices) for run in runs) / spent
    raise AssertionError
