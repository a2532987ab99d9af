"""Chains of trainings: a network is trained on one subset, and then further on the next.

The end of a training can depend on where it starts. A chain is trained leg by leg, several
chains at the same time; each leg starts from the weights at the end of the previous one.
"""

import shutil
from collections.abc import Callable, Sequence

import pandas as pd

from nc_jax.campaigns.campaign import (
    Campaign,
    Training,
    finished_rows,
    images_of,
    name_of,
    train_group,
    trainer_of,
)


def train_chains(
    campaign: Campaign, chains: Sequence[Sequence[Training]], watch: Callable[[int, int], None]
) -> pd.DataFrame:
    """Trains all legs of all chains and returns their measures.

    Args:
        campaign: the settings that the trainings share.
        chains: legs in their order; all chains have the same length and number of epochs.
        watch: called with the numbers of new images and of new runs that broke down.

    Returns:
        The rows of :func:`nc_jax.campaigns.train_all`, chain by chain, with ``leg``
        counted from 1. A leg after one that broke down starts from the weights left by it.

    Raises:
        ValueError: chains of different lengths.
        OSError: the folder cannot be written; everything written so far is intact.
    """
    if len({len(chain) for chain in chains}) > 1:
        raise ValueError("chains must have the same number of legs")
    names = [_names(campaign, chain) for chain in chains]
    found = finished_rows(campaign.folder, [name for own in names for name in own])
    done = [all(name in found for name in own) for own in names]
    todo = [place for place, whole in enumerate(done) if not whole]
    watch(
        sum(images_of(leg) for place, whole in enumerate(done) if whole for leg in chains[place]), 0
    )
    if todo:
        trainer = trainer_of(campaign, [chains[place][0].run for place in todo], len(chains))
        for first in range(0, len(todo), trainer.together):
            weights, folders = None, []
            own = todo[first : first + trainer.together]
            for leg in range(len(chains[0])):
                group = {names[place][leg]: chains[place][leg] for place in own}
                rows, weights, folder = train_group(campaign, trainer, group, watch, weights)
                found |= rows
                folders.append(folder)
            # Until now an interrupted chain would need the weights of its last complete leg.
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
    tables = [found[name].assign(leg=leg) for own in names for leg, name in enumerate(own, 1)]
    return pd.concat(tables, ignore_index=True)


def _names(campaign: Campaign, chain: Sequence[Training]) -> list[str]:
    """The name of a leg depends on all legs before it."""
    names: list[str] = []
    for leg in chain:
        names.append(name_of(campaign, leg, names[-1] if names else "start"))
    return names
