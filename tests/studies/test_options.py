"""Bad numbers: every study refuses them at its start and names the option."""

import dataclasses
import importlib
import math
import typing
from pathlib import Path
from typing import Annotated

import pytest

from nc_jax import report
from studies import diagnose
from tests.running import require

NAMES = sorted(path.stem for path in Path(diagnose.__file__).parent.glob("*.py"))
# These two look at their options in main, together with the file that they are given.
CHECKED = [name for name in NAMES if name not in ("diagnose", "sweep")]


def kind_of(hint):
    """int or float for an option of numbers, however nested; None for any other."""
    inside = [kind_of(part) for part in typing.get_args(hint)]
    return hint if hint in (int, float) else next(filter(None, inside), None)


def put(value, bad):
    """The value of an option with one number replaced."""
    if isinstance(value, tuple):
        return (*value[:-1], put(value[-1], bad)) if value else (bad,)
    return bad


@pytest.mark.parametrize("name", CHECKED)
def test_numbers_out_of_range_name_the_option(name):
    study = importlib.import_module(f"studies.{name}")
    for config in study.PRESETS.values():
        require(study, config)
    config = next(iter(study.PRESETS.values()))
    hints = typing.get_type_hints(study.Config)
    numeric = {name: kind for name, hint in hints.items() if (kind := kind_of(hint))}
    assert numeric
    for option, kind in numeric.items():
        for bad in [-1] if kind is int else [-1.0, math.nan, math.inf]:
            choice = {option: put(getattr(config, option), bad)}
            with pytest.raises(ValueError, match=f"{report.flag(option)} .*got .*{bad}"):
                require(study, dataclasses.replace(config, **choice))


@pytest.mark.parametrize("option", ["weight_energy", "feature_energy", "weight_decay"])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_diagnose_names_the_option(tmp_path, option, bad):
    config = dataclasses.replace(diagnose.Config(out=tmp_path), **{option: bad})
    with pytest.raises(ValueError, match=f"{report.flag(option)} .*got {bad}"):
        diagnose.main(config)


@dataclasses.dataclass(frozen=True)
class Options:
    some_numbers: tuple = (1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "bounds", "expected"),
    [
        ((), {}, "one or more numbers, got none"),
        ((1.0, 3.0), {"above": 0, "below": 3}, "greater than 0 and less than 3 and finite, got"),
        ((1, 4), {"least": 1, "most": 3}, "at least 1 and at most 3, got 1 4"),
        (math.nan, {}, "finite, got nan"),
    ],
)
def test_numbers_say_what_was_expected(values, bounds, expected):
    with pytest.raises(ValueError, match=f"--some-numbers must be {expected}"):
        report.require_numbers(Options(values), "some_numbers", **bounds)


def test_good_options_pass():
    report.require_numbers(Options((0.0, 1.0)), "some_numbers", least=0, most=1)
    report.require_numbers(Options(None), "some_numbers", least=0)
    report.require_range(Options((1e-3, 1e3)), "some_numbers")
    report.require_distinct(Options(("a", "b")), "some_numbers", known="abc")


@pytest.mark.parametrize("ends", [(2.0, 1.0), (0.0, 1.0), (1.0, math.inf), (1.0, math.nan), ()])
def test_a_range_rises(ends):
    with pytest.raises(ValueError, match="--some-numbers must be two numbers with 0 < low < high"):
        report.require_range(Options(ends), "some_numbers")


@pytest.mark.parametrize("values", [(), ("a", "a"), ("a", "z")])
def test_choices_are_distinct_and_known(values):
    with pytest.raises(ValueError, match="--some-numbers must be"):
        report.require_distinct(Options(values), "some_numbers", known="abc")


@dataclasses.dataclass(frozen=True)
class Declared:
    count: report.Count = 1
    sizes: report.Several[report.TwoOrMore] | None = None
    share: report.Share = 0.5
    ends: report.Interval = (1.0, 2.0)
    names: Annotated[tuple[str, ...], report.Distinct(("a", "b"))] = ("a",)
    free: float = -1.0


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("count", 0),
        ("sizes", (2, 1)),
        ("sizes", (2, 2)),
        ("sizes", ()),
        ("share", 1.0),
        ("share", math.nan),
        ("ends", (2.0, 1.0)),
        ("names", ("a", "c")),
        ("names", ("a", "a")),
    ],
)
def test_what_a_type_declares_is_checked(option, bad):
    report.require_declared(Declared())
    report.require_declared(Declared(sizes=(2, 3), names=("b", "a")))
    with pytest.raises(ValueError, match=f"--{option} must be"):
        report.require_declared(dataclasses.replace(Declared(), **{option: bad}))
