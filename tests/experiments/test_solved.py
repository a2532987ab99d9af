"""A surrogate and outputs given as functions, and the same by name."""

import jax
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.experiments import Experiment, solved
from nc_jax.source import code_digest
from nc_jax.sweeps import tabulate
from tests.test_source import loaded

OUTPUTS = ("phase", "objective", "minority_cosine")


def model(choices, columns):
    sizes = nc.two_groups(choices["majority"], 4 - choices["majority"], columns["ratio"])
    return nc.LayerPeeled(sizes, 1.0, columns["feature_energy"])


def grid():
    columns = {"ratio": np.array([1.0, 10.0, 1e3]), "feature_energy": np.full(3, 5.0)}
    return columns, jax.random.split(jax.random.key(0), 3)


def test_a_surrogate_as_a_function_has_the_rows_of_the_one_by_name():
    build = solved(model, OUTPUTS)
    experiment = Experiment(fixed={"num_classes": 4, "weight_energy": 1.0}, outputs=OUTPUTS)
    for majority in (1, 2):
        own = build({"majority": majority})(*grid())
        other = experiment({"majority": majority})(*grid())
        assert list(own) == list(OUTPUTS) == list(other)
        for name in OUTPUTS:
            np.testing.assert_allclose(own[name], other[name], rtol=1e-12)


def test_outputs_and_solver_may_be_functions():
    asked = []

    def solver(choices):
        asked.append(choices["majority"])
        return nc.FactoredMultiStart(restarts=2)

    build = solved(model, lambda solution: {"spread": solution.spread}, solver)
    rows = build({"majority": 2})(*grid())
    assert asked == [2] and list(rows) == ["spread"] and rows["spread"].shape == (3,)


def test_bad_outputs_are_named():
    with pytest.raises(ValueError, match="outputs must be one of .*phase.*, got 'colour'"):
        solved(model, ("phase", "colour"))
    with pytest.raises(ValueError, match="at least one name"):
        solved(model, ())
    with pytest.raises(ValueError, match="spread needs solver = 'FactoredMultiStart'"):
        solved(model, ("spread",))({"majority": 2})(*grid())


def test_stored_rows_depend_on_the_code_of_the_model(tmp_path):
    text = "def model(choices, columns): return {}\n"
    one = code_digest(solved(loaded(tmp_path / "study.py", text).model, OUTPUTS))
    assert one == code_digest(solved(loaded(tmp_path / "study.py", text).model, OUTPUTS))
    other = solved(loaded(tmp_path / "study.py", text.replace("{}", "{1}")).model, OUTPUTS)
    assert one != code_digest(other) and one != code_digest(tabulate)
