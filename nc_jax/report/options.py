"""Checks of a study's options; every error names the option as it was typed.

What holds for one option alone is declared in its type, as in ``ratio: Positive`` or
``depths: Several[Count]``, and checked by :func:`require_declared`; what relates options to each
other is checked by the study.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

# Squares of the ends, and the margins of a logarithmic axis, must not overflow.
LARGEST = 1e100
Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Declares what :func:`require_numbers` checks of an option."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def require(self, config: Any, name: str) -> None:
        """Checks one option."""
        require_numbers(config, name, **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Distinct:
    """Declares what :func:`require_distinct` checks of an option."""

    known: tuple[Any, ...] | None = None

    def require(self, config: Any, name: str) -> None:
        """Checks one option."""
        require_distinct(config, name, known=self.known)


class Ends:
    """Declares what :func:`require_range` checks of an option."""

    def require(self, config: Any, name: str) -> None:
        """Checks one option."""
        require_range(config, name)


# Types of options: of one number, of the two ends of an interval, of several distinct values.
Count = Annotated[int, Bounds(least=1)]
TwoOrMore = Annotated[int, Bounds(least=2)]
Several = Annotated[tuple[Value, ...], Distinct()]
NonNegative = Annotated[Value, Bounds(least=0)]
Positive = Annotated[float, Bounds(above=0)]
AboveOne = Annotated[float, Bounds(above=1)]
Share = Annotated[float, Bounds(above=0, below=1)]
Interval = Annotated[tuple[float, float], Ends()]


def flag(name: str) -> str:
    """The option that sets a field: ``--num-classes`` for ``num_classes``."""
    return f"--{name.replace('_', '-')}"


def require_declared(config: Any) -> None:
    """Checks every option against what its type declares, unless it is None.

    Raises:
        ValueError: naming the option.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        for declared in _declared(hints[field.name]):
            if getattr(config, field.name) is not None:
                declared.require(config, field.name)


def _declared(hint: Any) -> Iterator[Bounds | Distinct | Ends]:
    """What a type and its arguments declare."""
    yield from (own for own in getattr(hint, "__metadata__", ()) if hasattr(own, "require"))
    for argument in get_args(hint):
        if not hasattr(argument, "require"):
            yield from _declared(argument)


def require_numbers(
    config: Any,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """Checks options that hold a number, or a tuple of at least one number.

    Args:
        config: the options, with one field for each; None in a field passes.
        names: the fields to check.
        least: the smallest number allowed.
        above: what every number must exceed.
        most: the largest number allowed.
        below: what every number must stay under.

    Raises:
        ValueError: an option is empty, or a number is NaN, infinite or out of bounds.
    """
    bounds = {"at least": least, "greater than": above, "at most": most, "less than": below}
    words = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
    for name in names:
        value = getattr(config, name)
        values = value if isinstance(value, tuple) else (value,)
        if not values:
            raise ValueError(f"{flag(name)} must be one or more numbers, got none")
        if value is None or all(_within(number, bounds) for number in values):
            continue
        finite = ["finite"] if any(isinstance(number, float) for number in values) else []
        raise ValueError(f"{flag(name)} must be {' and '.join(words + finite)}, got {shown(value)}")


def require_range(config: Any, *names: str) -> None:
    """Checks options that hold the two ends of an interval of positive numbers.

    Raises:
        ValueError: not 0 < low < high ≤ 1e100.
    """
    for name in names:
        ends = getattr(config, name)
        if len(ends) != 2 or not 0 < ends[0] < ends[1] <= LARGEST:
            raise ValueError(
                f"{flag(name)} must be two numbers with 0 < low < high ≤ {LARGEST:g}, "
                f"got {shown(ends)}"
            )


def require_distinct(config: Any, *names: str, known: Any = None) -> None:
    """Checks options that hold several values.

    Args:
        config: the options, with one field for each.
        names: the fields to check.
        known: the values to choose from; by default any.

    Raises:
        ValueError: an option is empty, or a value is repeated or not known.
    """
    for name in names:
        values = getattr(config, name)
        if known is not None and set(values) - set(known):
            raise ValueError(
                f"{flag(name)} must be of {', '.join(map(str, known))}, got {shown(values)}"
            )
        if not values or len(set(values)) < len(values):
            raise ValueError(
                f"{flag(name)} must be one or more distinct values, got {shown(values)}"
            )


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)


def _within(number: float, bounds: dict[str, float | None]) -> bool:
    """Whether a number is finite and within the bounds."""
    least, above, most, below = bounds.values()
    return (
        math.isfinite(number)
        and (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    )
