"""How many runs to train at once: measured on the machine at hand.

One run on each device is always worth it. More on a device, vmapped, are where steps
are small (dense layers) and are not where convolutions become grouped ones.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence

import jax

from nc_jax.training.loop import Run, Trainer

# Runs on a device that are tried, each only while the one before was worth it.
EACH = (1, 4, 16)
# How much faster the next must be.
GAIN = 1.1
# Batches of a timed epoch, and the least time that is long enough.
BATCHES = 4
SECONDS = 0.2


def fastest_trainer(make: Callable[[int], Trainer], runs: Sequence[Run]) -> Trainer:
    """The trainer that takes most images a second.

    Args:
        make: a trainer of so many runs at once.
        runs: that are to be trained; the first ones are tried.

    Returns:
        A trainer whose epoch is compiled if there was a choice.
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
            # Out of memory: fewer it is, unless one a device is too much already.
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
        # As many epochs as it takes.
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
