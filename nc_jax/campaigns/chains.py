"""Trainings that go on from one another: a network is trained on one subset, then on the next.

What a network settles at can depend on where it comes from. A chain is trained leg by
leg, several chains at once; a leg starts from the weights at the end of the one before.
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
    """Measures through all legs of all chains.

    Args:
        campaign: what the trainings share.
        chains: legs in their order, all chains as long and with as many epochs.
        watch: called with images and with runs that broke down, as they come.

    Returns:
        What :func:`nc_jax.campaigns.train_all` gives, chain by chain, with ``leg``
        counted from 1. A leg after one that broke down starts from what it left.

    Raises:
        ValueError: chains of different lengths.
        OSError: the folder cannot be written; what was written is whole.
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
            # Until here a chain that is stopped needs the weights of its last whole leg.
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
    tables = [found[name].assign(leg=leg) for own in names for leg, name in enumerate(own, 1)]
    return pd.concat(tables, ignore_index=True)


def _names(campaign: Campaign, chain: Sequence[Training]) -> list[str]:
    """A leg's name says all legs before it."""
    names: list[str] = []
    for leg in chain:
        names.append(name_of(campaign, leg, names[-1] if names else "start"))
    return names
