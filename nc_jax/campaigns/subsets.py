"""Trainings on subsets that several studies use: two class sizes, or equal class sizes."""

import dataclasses
from typing import Any

import numpy as np

from nc_jax.campaigns.campaign import Training
from nc_jax.campaigns.options import ConvergingOptions, TrainingOptions, recipe_of
from nc_jax.datasets import (
    ImageData,
    balanced_features,
    choose_subset,
    find_data_set,
    load_images,
    step_sizes,
)
from nc_jax.report.options import require_numbers, shown
from nc_jax.training.loop import Recipe, Run


def check_majority(options: TrainingOptions, majority: tuple[int, ...], most: int = 10**9) -> None:
    """ValueError unless every K_A leaves two small classes on all data sets (K ≤ ``most``)."""
    classes = min([most, *(find_data_set(data).num_classes for data in options.data)])
    if not all(1 <= k <= classes - 2 for k in majority):
        raise ValueError(f"--majority must be from 1 to {classes - 2}, got {shown(majority)}")


def majority_size_of(
    asked: int | None, option: str, ratio: int, data: str, labels: np.ndarray
) -> int:
    """n_A on one data set.

    Args:
        asked: --majority-size; None for all images that every class has.
        option: the option that sets the ratio.
        ratio: the largest requested ratio, at which no class may be empty.
        data: name of the data set.
        labels: labels of its images.

    Raises:
        ValueError: naming the invalid option.
    """
    size = _size_of("--majority-size", asked, data, labels)
    if ratio > size:
        raise ValueError(f"{option} must be at most n_A = {size} on {data}, got {ratio}")
    return size


def step_training(
    options: TrainingOptions,
    place: tuple[str, str],
    labels: np.ndarray,
    size: int,
    chosen: tuple[int, int, float, int],
    random_labels: bool = False,
) -> Training:
    """A training with n_A images in each of K_A classes and n_A // R in each other class.

    Args:
        options: options of the study.
        place: data set and network.
        labels: labels of the images.
        size: n_A.
        chosen: K_A, R, weight decay and seed.
        random_labels: whether the seed draws which classes are large instead of the
            first K_A, so that the appearance of the classes averages out over seeds.
    """
    (data, network), (majority, ratio, decay, seed) = place, chosen
    classes = find_data_set(data).num_classes
    order = np.arange(classes)
    if random_labels:
        order = np.random.default_rng([seed, classes]).permutation(classes)
    sizes = np.empty(classes, int)
    sizes[order] = step_sizes(classes, majority, size, ratio)
    large, small = (tuple(sorted(own.tolist())) for own in (order[:majority], order[majority:]))
    subset = choose_subset(labels, sizes, seed)
    about = {"data": data, "network": network, "majority": majority, "ratio": ratio}
    about |= {"weight_decay": decay, "seed": seed, "majority_size": size}
    about |= {"minority_size": int(sizes[small[0]]), "num_classes": classes}
    about |= {"large_classes": " ".join(map(str, large))} if random_labels else {}
    run = Run(subset, recipe_of(options, decay), seed)
    return Training(about, run, subset, small)


def converging_training(
    options: ConvergingOptions,
    place: tuple[str, str],
    labels: np.ndarray,
    size: int,
    chosen: tuple[int, int, float, int],
) -> Training:
    """The training of :func:`step_training` for a comparison with stationary points.

    Args:
        options: options of the study.
        place: data set and network.
        labels: labels of the images.
        size: n_A.
        chosen: K_A, R, weight decay and seed.
    """
    training = step_training(options, place, labels, size, chosen, options.labels == "random")
    recipe = dataclasses.replace(training.run.recipe, decayed=options.decayed)
    return dataclasses.replace(training, run=dataclasses.replace(training.run, recipe=recipe))


def balanced_training(
    place: tuple[str, str],
    labels: np.ndarray,
    per_class: int | None,
    recipe: Recipe,
    seed: int,
    about: dict[str, Any],
) -> Training:
    """A training with the same number of images in each class.

    Args:
        place: data set and network.
        labels: labels of the images.
        per_class: --per-class; None for all images that every class has.
        recipe: recipe of the training.
        seed: seed of weights, orders and the choice of images.
        about: further columns that describe it in its rows.

    Raises:
        ValueError: naming the invalid option.
    """
    data, network = place
    classes = find_data_set(data).num_classes
    size = _size_of("--per-class", per_class, data, labels)
    subset = choose_subset(labels, np.full(classes, size), seed)
    about = {"data": data, "network": network, "weight_decay": recipe.weight_decay, **about}
    about |= {"seed": seed, "per_class": size, "num_classes": classes}
    return Training(about, Run(subset, recipe, seed), subset)


def balanced_pixels(options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, d] of the same number of images in each of K classes, and labels [N].

    Args:
        options: has ``data``, ``data_dir``, ``num_classes`` K, ``per_class`` and ``seed``.

    Raises:
        OSError, ValueError: a file is missing or damaged, or the data set has too few classes or
            images; the message names the option.
    """
    images = load_images(options.data, data_dir=options.data_dir)
    sizes = np.bincount(images.labels)
    require_numbers(options, "num_classes", most=len(sizes))
    require_numbers(options, "per_class", most=int(sizes[: options.num_classes].min()))
    return balanced_features(images, options.num_classes, options.per_class, options.seed)


def mean_energy(images: ImageData, data: str, subset: np.ndarray) -> float:
    """Mean squared length of the images of a subset, normalised as for training.

    Args:
        images: the training images.
        data: name of their data set.
        subset: indices.
    """
    known = find_data_set(data)
    pixels = images.images[subset].astype(np.float32) / 255
    pixels = (pixels - np.asarray(known.mean)) / np.asarray(known.deviation)
    return float(np.mean(np.sum(pixels**2, axis=(1, 2, 3))))


def _size_of(option: str, asked: int | None, data: str, labels: np.ndarray) -> int:
    """Number of images per class, at most the size of the smallest class."""
    fewest = int(np.bincount(labels, minlength=find_data_set(data).num_classes).min())
    size = fewest if asked is None else asked
    if not 1 <= size <= fewest:
        raise ValueError(f"{option} must be from 1 to {fewest} on {data}, got {size}")
    return size
