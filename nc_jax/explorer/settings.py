"""The requests of the page, checked: every error names the field and what was expected."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# With a thousand classes an answer takes about a second, most of it for the matrix of all pairs.
# Every different size makes the model larger: with 300 a solve takes 6 to 20 seconds.
# nc_jax.solve takes any number of both.
MAX_CLASSES = 1000
MAX_DIFFERENT = 300
# Larger typed numbers are mistakes, or overflow somewhere in the computation.
MAX_RATIO = 1e8
MAX_SIZE = 1e12
STRENGTHS = {"layer-peeled": (1e-3, 1e3), "unconstrained": (1e-9, 1e3)}
STRENGTH_NAMES = {"layer-peeled": "The budget E", "unconstrained": "The weight decay λ"}
LOSSES = ("cross-entropy", "squared-error", "centred-squared-error", "label-smoothing")


class FieldError(ValueError):
    """A sentence about one field of the page."""

    def __init__(self, field: str, sentence: str):
        """Makes the error.

        Args:
            field: the field's name in the request.
            sentence: what was given and what was expected.
        """
        super().__init__(sentence)
        self.field = field


@dataclasses.dataclass(frozen=True)
class Family:
    """The choices that decide which program is compiled."""

    surrogate: str
    """'layer-peeled' or 'unconstrained'."""
    loss: str
    """One of LOSSES."""
    bias: bool
    """Whether unconstrained features have a bias, which is not regularised then."""


@dataclasses.dataclass(frozen=True)
class MapSettings:
    """A phase map over the imbalance ratio R and the budget E, or the weight decay λ."""

    family: Family
    classes: int
    """K."""
    majority: int
    """K_A, how many of the classes are large."""
    largest: float
    """n_A, samples of a large class; only unconstrained features depend on it."""
    ratios: tuple[float, float]
    """Ends of the axis of R = n_A/n_B."""
    strengths: tuple[float, float]
    """Ends of the axis of E or λ."""


@dataclasses.dataclass(frozen=True)
class PointSettings:
    """A point of a map."""

    map: MapSettings
    ratio: float
    """R."""
    strength: float
    """E or λ."""


@dataclasses.dataclass(frozen=True)
class SizesSettings:
    """Arbitrary class sizes and a strength."""

    family: Family
    sizes: tuple[float, ...]
    """Samples of each class."""
    strength: float
    """E or λ."""


def family_of(request: Mapping[str, Any]) -> Family:
    """The surrogate, loss and bias of a request; FieldError if one of them does not exist."""
    surrogate = _choice(request, "surrogate", tuple(STRENGTHS))
    loss = _choice(request, "loss", LOSSES)
    bias = request.get("bias", False)
    if not isinstance(bias, bool):
        raise FieldError("bias", f"The bias must be true or false, got {_shown(bias)}.")
    if bias and surrogate == "layer-peeled":
        raise FieldError(
            "bias", "The Layer-Peeled Model has no bias: choose unconstrained features."
        )
    return Family(surrogate, loss, bias)


def map_of(request: Mapping[str, Any]) -> MapSettings:
    """The map that a request asks for; FieldError naming the invalid field."""
    family = family_of(request)
    classes = _count(request, "classes", "The number of classes K", 2, MAX_CLASSES)
    majority = _count(request, "majority", "The number of large classes K_A", 1, MAX_CLASSES)
    if majority >= classes:
        raise FieldError(
            "majority",
            f"The number of large classes K_A must be below the number of classes K = {classes}, "
            f"got {majority}.",
        )
    largest = _number(request, "largest", "The size of a large class n_A", 1, MAX_SIZE)
    strength = STRENGTH_NAMES[family.surrogate]
    limits = STRENGTHS[family.surrogate]
    return MapSettings(
        family,
        classes,
        majority,
        largest,
        _range(request, "ratio", "The imbalance ratio R", (1, MAX_RATIO)),
        _range(request, "strength", strength, limits),
    )


def point_of(request: Mapping[str, Any]) -> PointSettings:
    """The point of a map that a request asks for; FieldError as above."""
    settings = map_of(request)
    ratio = _number(request, "ratio", "The imbalance ratio R", 1, MAX_RATIO)
    return PointSettings(settings, ratio, _strength(request, settings.family))


def sizes_of(request: Mapping[str, Any]) -> SizesSettings:
    """The class sizes that a request asks for; FieldError as above."""
    family = family_of(request)
    return SizesSettings(family, parse_sizes(request.get("sizes")), _strength(request, family))


def decay_of(request: Mapping[str, Any]) -> float | None:
    """The weight decay of a training, None if the field is empty; FieldError as above."""
    if not request.get("weight_decay"):
        return None
    name, limits = STRENGTH_NAMES["unconstrained"], STRENGTHS["unconstrained"]
    return _number(request, "weight_decay", name, *limits)


def parse_sizes(text: Any) -> tuple[float, ...]:
    """Class sizes typed with commas, semicolons, spaces or line breaks between them.

    Raises:
        FieldError: not a text of numbers, fewer than two sizes or more than MAX_CLASSES, or
            more than MAX_DIFFERENT different ones.
    """
    if not isinstance(text, str):
        raise FieldError("sizes", f"Class sizes must be a text of numbers, got {_shown(text)}.")
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    if len(words) < 2:
        raise FieldError(
            "sizes", f"Type at least two class sizes, such as 500, 300, 60; got {len(words)}."
        )
    if len(words) > MAX_CLASSES:
        raise FieldError(
            "sizes",
            f"The page shows at most {MAX_CLASSES:,} classes, got {len(words):,}; "
            "nc_jax.solve takes any number in Python.",
        )
    sizes = []
    for place, word in enumerate(words, 1):
        what = f"Class size {place}"
        sizes.append(_number({"sizes": word}, "sizes", what, 1e-6, MAX_SIZE))
    different = len(set(sizes))
    if different > MAX_DIFFERENT:
        raise FieldError(
            "sizes",
            f"The page solves for at most {MAX_DIFFERENT} different sizes, got {different:,}; "
            "nc_jax.solve takes any number in Python.",
        )
    return tuple(sizes)


def centres(low: float, high: float, count: int) -> np.ndarray:
    """Centres [count] of the equal cells of a logarithmic axis."""
    return np.geomspace(low, high, 2 * count + 1)[1::2]


def _strength(request: Mapping[str, Any], family: Family) -> float:
    name, limits = STRENGTH_NAMES[family.surrogate], STRENGTHS[family.surrogate]
    return _number(request, "strength", name, *limits)


def _choice(request: Mapping[str, Any], field: str, choices: tuple[str, ...]) -> str:
    value = request.get(field)
    if value not in choices:
        raise FieldError(
            field, f"The {field} must be one of {', '.join(choices)}; got {_shown(value)}."
        )
    return str(value)


def _range(
    request: Mapping[str, Any], field: str, what: str, limits: tuple[float, float]
) -> tuple[float, float]:
    low = _number(request, f"{field}_low", f"{what} at the low end of the map", *limits)
    high = _number(request, f"{field}_high", f"{what} at the high end of the map", *limits)
    if not low * 1.01 <= high:
        raise FieldError(
            f"{field}_high",
            f"{what} at the high end of the map must be above {low:g}, got {high:g}.",
        )
    return low, high


def _count(request: Mapping[str, Any], field: str, what: str, least: int, most: int) -> int:
    number = _number(request, field, what, least, most)
    if number != int(number):
        raise FieldError(field, f"{what} must be a whole number, got {number:g}.")
    return int(number)


def _number(request: Mapping[str, Any], field: str, what: str, least: float, most: float) -> float:
    """A typed number between two bounds, inclusive."""
    value = request.get(field)
    bounds = f"a number from {least:,.15g} to {most:,.15g}"
    if value is None or value == "":
        raise FieldError(field, f"{what} is missing: type {bounds}.")
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise FieldError(field, f"{what} must be {bounds}, got {_shown(value)}.") from None
    if not math.isfinite(number) or not least <= number <= most:
        raise FieldError(field, f"{what} must be {bounds}, got {_shown(value)}.")
    return number


def _shown(value: Any) -> str:
    """The given value, shortened to fit in a sentence."""
    text = str(value)
    return f"“{text[:40]}…”" if len(text) > 40 else f"“{text}”"
