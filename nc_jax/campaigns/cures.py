"""Trainings with cures for imbalance, each over a range of strengths."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nc_jax import design
from nc_jax.campaigns.campaign import Training
from nc_jax.campaigns.plans import Plan
from nc_jax.networks import NETWORKS
from nc_jax.prediction import penalties_of
from nc_jax.report.progress import map_with_bar
from nc_jax.surrogates import UnconstrainedFeatures
from nc_jax.training import RUN_CURES, cured_run

# What a designed strength depends on besides the cure.
PLACE = ("data", "network", "ratio", "weight_decay")


def strengths_of(choices: Sequence[str]) -> dict[str, list[float]]:
    """The strengths of each cure of --cures, each as in 'class-weights:0.5,1'.

    Raises:
        ValueError: an unknown cure, or a strength that is not a positive number.
    """
    grids = {}
    for choice in choices:
        cure, _, numbers = choice.partition(":")
        if cure not in RUN_CURES or cure == "none" or cure in grids:
            known = ", ".join(RUN_CURES[1:])
            raise ValueError(f"--cures must be distinct, of {known}, got {cure}")
        try:
            grids[cure] = [float(number) for number in numbers.split(",")]
        except ValueError:
            grids[cure] = [-1.0]
        if not all(0 < strength < np.inf for strength in grids[cure]):
            raise ValueError(
                f"--cures {cure} must have positive strengths, as in 1,2; got {choice}"
            )
    return grids


def design_cures(
    trainings: Sequence[Training], grids: Mapping[str, Sequence[float]], majority: int, target: str
) -> pd.DataFrame:
    """The strength that the designer chooses for each cure, without any training.

    It is the one at which unconstrained features with the network's own penalties, but without
    its ReLU and therefore certified, come closest to a target.

    Args:
        trainings: those without a cure; one of each place is used.
        grids: strengths of each cure; cures that are not in :data:`nc_jax.design.CURES` are left
            out.
        majority: K_A, the number of large classes.
        target: a name in :data:`nc_jax.design.TARGETS`.

    Returns:
        One row for each place, cure and strength: the columns :data:`PLACE` and those of
        :func:`nc_jax.design.chosen_with`.
    """
    places = {tuple(training.about[name] for name in PLACE): training for training in trainings}
    cases = [(*item, cure) for item in places.items() for cure in grids if cure in design.CURES]

    def one(case: tuple[tuple[Any, ...], Training, str]) -> pd.DataFrame:
        place, training, cure = case
        small = training.about["num_classes"] - majority
        sizes = [training.about["majority_size"]] * majority
        sizes = np.array(sizes + [training.about["minority_size"]] * small, float)
        penalties = penalties_of(NETWORKS[place[1]].head, place[3], float(np.sum(sizes)))
        model = UnconstrainedFeatures(sizes, *penalties)
        columns = design.chosen_with(model, cure, grids[cure], target)
        return pd.DataFrame(dict(zip(PLACE, place, strict=True)) | columns)

    names = [*PLACE, "cure", "strength", "predicted_cosine", "designed"]
    parts = map_with_bar(one, cases, "cures of the networks")
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def cured_plans(
    plain: Sequence[Training],
    labels: Mapping[str, np.ndarray],
    grids: Mapping[str, Sequence[float]],
    designs: pd.DataFrame,
) -> list[Plan]:
    """Trainings of one network with every cure; those with the same kind of loss form a plan.

    Args:
        plain: the trainings without a cure, on one data set.
        labels: labels of the images of each data set.
        grids: strengths of each cure.
        designs: rows with ``cure``, a further strength ``designed``, and the columns
            :data:`PLACE` that tell for which trainings it is.
    """
    data, network = plain[0].about["data"], plain[0].about["network"]
    plans: dict[str, list[Training]] = {"none": list(plain)}
    for training, cure in itertools.product(plain, grids):
        about = training.about
        strengths = set(grids[cure])
        own = designs[designs["cure"] == cure]
        for name in PLACE:
            own = own[own[name] == about[name]]
        strengths |= set(own["designed"]) - {0.0}
        kind = "none" if cure == "class-weights" else cure
        for strength in sorted(strengths):
            run = cured_run(training.run, labels[data], about["num_classes"], cure, strength)
            said = {**about, "cure": cure, "strength": strength}
            plans.setdefault(kind, []).append(dataclasses.replace(training, about=said, run=run))
    return [Plan(data, network, trainings) for trainings in plans.values()]
