"""The trainings of a study: its data, and one campaign for each network and data set."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from nc_jax.campaigns.campaign import Campaign, Measure, Training, measure_collapse, train_all
from nc_jax.campaigns.chains import train_chains
from nc_jax.campaigns.options import TrainingOptions, pairs_of
from nc_jax.datasets import DataSet, ImageData, digest_of, find_data_set, load_images
from nc_jax.networks import NETWORKS
from nc_jax.report.progress import points_bar
from nc_jax.training.images import on_device, resized
from nc_jax.training.loop import Trainer

RUNS = "runs"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Trainings that share a network and an image data set.

    Attributes:
        data: name of the image data set, among the splits that it is trained with.
        network: a name in :data:`nc_jax.networks.NETWORKS`.
        trainings: their recipes may differ in learning rate, weight decay and milestones.
        chains: further trainings, in which each leg continues from the previous one.
    """

    data: str
    network: str
    trainings: Sequence[Training]
    chains: Sequence[Sequence[Training]] = ()

    @property
    def legs(self) -> list[Training]:
        """All trainings, including the legs of chains."""
        return [*self.trainings, *(leg for chain in self.chains for leg in chain)]


class Splits(NamedTuple):
    """The images of a data set.

    Attributes:
        train: the training images.
        test: the held-out images.
        known: their data set, for the number of classes and the normalisation.
    """

    train: ImageData
    test: ImageData
    known: DataSet


def load_splits(options: TrainingOptions) -> dict[str, Splits]:
    """Training images, and at most ``test_size`` held-out images, by data set.

    Raises:
        OSError, ValueError: a file is missing or damaged; the message names it.
    """
    splits = {}
    for data in options.data:
        trained, held = (load_images(data, split, options.data_dir) for split in ("train", "test"))
        chosen = np.random.default_rng(0).permutation(len(held.labels))[: options.test_size]
        test = ImageData(held.images[chosen], held.labels[chosen])
        splits[data] = Splits(trained, test, find_data_set(data))
    return splits


def digests_of(splits: Mapping[str, Splits]) -> dict[str, str]:
    """Digests of the data sets, for the provenance."""
    return {data: digest_of(split.train) for data, split in splits.items()}


def train_plans(
    options: TrainingOptions,
    splits: Mapping[str, Splits],
    plans: Sequence[Plan],
    measure: Measure = measure_collapse,
    columns: Iterable[str] = (),
) -> pd.DataFrame:
    """Trains all runs under one progress bar and returns their measures.

    Args:
        options: options of the study.
        splits: the result of :func:`load_splits`, or images of your own by their name.
        plans: what to train.
        measure: returns the rows of a run at the epochs at which it is measured.
        columns: columns that the table has even if every run broke down.

    Returns:
        The rows of :func:`nc_jax.campaigns.train_all`, for all plans.
    """
    images = sum(len(t.run.indices) for plan in plans for t in plan.legs) * options.epochs
    tables = []
    with points_bar(images, "images", "runs broke down") as watch:
        for plan in plans:
            campaign = _campaign(options, splits[plan.data], plan, measure)
            if plan.trainings:
                tables.append(train_all(campaign, plan.trainings, watch))
            if plan.chains:
                tables.append(train_chains(campaign, plan.chains, watch))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(**{name: np.nan for name in columns if name not in table})


class Trained(NamedTuple):
    """What the trainings of a study left.

    Attributes:
        rows: their measures, see :func:`train_plans`.
        data: digests of the data sets by name, for the provenance.
    """

    rows: pd.DataFrame
    data: dict[str, str]


def train_networks(
    options: TrainingOptions,
    plans_of: Callable[[str, str, ImageData], Sequence[Plan]],
    measure: Measure = measure_collapse,
    columns: Iterable[str] = (),
) -> Trained:
    """Loads the data sets and trains every network of the options on them.

    Args:
        options: options of the study.
        plans_of: from the names of a data set and of a network, and the training images, to
            what to train.
        measure: see :func:`train_plans`.
        columns: see :func:`train_plans`.

    Raises:
        OSError, ValueError: a file is missing or damaged, or an option is invalid for the data.
    """
    splits = load_splits(options)
    pairs = pairs_of(options)
    plans = [plan for pair in pairs for plan in plans_of(*pair, splits[pair[0]].train)]
    return Trained(train_plans(options, splits, plans, measure, columns), digests_of(splits))


def _campaign(options: TrainingOptions, splits: Splits, plan: Plan, measure: Measure) -> Campaign:
    own, known, recipe = splits[:2], splits.known, plan.legs[0].run.recipe
    side = NETWORKS[plan.network].side or splits.train.images.shape[1]
    pixels, test = (on_device(resized(split, side), known) for split in own)
    longest = max(len(training.run.indices) for training in plan.legs)

    def make(together: int) -> Trainer:
        return Trainer(
            plan.network, pixels, known.num_classes, recipe, longest, options.width, together
        )

    settings = {"data": plan.data, "network": plan.network, "width": options.width}
    settings |= {"test_size": options.test_size, "pixels": [digest_of(split) for split in own]}
    # Those of a data set outside the package are not part of the code that rows depend on.
    settings |= {"mean": [*known.mean], "deviation": [*known.deviation]}
    settings |= {"num_classes": known.num_classes}
    folder = Path(options.out) / RUNS
    return Campaign(
        settings, make, folder, test, _epochs_measured(options), options.checkpoint, measure
    )


def _epochs_measured(options: TrainingOptions) -> frozenset[int]:
    """The epochs of the measurements, evenly spaced through training."""
    times = range(1, options.measures + 1)
    return frozenset(math.ceil(options.epochs * time / options.measures) for time in times)
