"""Every public function of a solution, with every kind of solution: an answer or a TypeError."""

import importlib
import inspect
import re

import jax
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.datasets import gaussian_classes
from nc_jax.design import TARGETS, separation
from nc_jax.diagnosis import own_directions
from nc_jax.metrics import minority_metrics

ROOMS = ("nc_jax", "nc_jax.solvers", "nc_jax.metrics", "nc_jax.design", "nc_jax.diagnosis")
# What a solution is passed as, or could be mistaken for.
TAKEN = {"solution", "layer", "moments", "vectors", "classifiers", "gram_matrix", "gram", "logits"}
TAKEN |= {"source", "archive", "model"}


def functions():
    """Public functions of one such argument, by name."""
    found = {}
    for room in (*ROOMS, "nc_jax.prediction"):
        module = importlib.import_module(room)
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isclass(function) or not callable(function):
                continue
            first, *others = inspect.signature(function).parameters.values()
            if first.name in TAKEN and not any(own.default is own.empty for own in others):
                found[f"{room}.{name}"] = function
    targets = {f"the distance from {name}": function for name, function in TARGETS.items()}
    minority = lambda classifiers: minority_metrics(classifiers, [0, 1])  # noqa: E731
    return found | targets | {"minority_metrics": minority}


FUNCTIONS = functions()


@pytest.fixture(scope="module")
def solutions():
    inputs, labels = gaussian_classes(3, 4, 5, 0.3, 0)
    sizes = nc.two_groups(2, 2, 10.0)
    free = nc.MultilayerUnconstrainedFeatures(inputs, labels, 1e-2, 1e-2, num_layers=2)
    return {
        "convex": nc.solve(nc.LayerPeeled(sizes, 1.0, 5.0)),
        "batch": nc.solve_batch(nc.LayerPeeled(sizes, np.array([1.0, 2.0]), 5.0)),
        "penalised": nc.solve(nc.UnconstrainedFeatures([4.0, 4.0, 2.0], 1e-2, 1e-2)),
        "factored": nc.solve(nc.LayerPeeled(sizes, 1.0, 5.0, dimension=2)),
        "multilayer": nc.solve(free),
        "all layers": nc.solve(free, nc.LayerwiseMultiStart(restarts=2, reduced=False)),
        "code": nc.spherical_code(5, 3),
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_answer_or_an_error_that_names_the_argument(name, solutions):
    function = FUNCTIONS[name]
    argument = next(iter(inspect.signature(function).parameters))
    for kind, solution in solutions.items():
        try:
            function(solution)
        except TypeError as error:
            # The archive that is measured is the source of a diagnosis.
            assert re.match(
                rf"({argument}|source) must be .*got {type(solution).__name__}", str(error)
            )
        except ValueError as error:
            assert kind == "batch" and re.match(r"(solution|classifiers) must be .*got", str(error))


@pytest.mark.parametrize("function", [separation, own_directions, *TARGETS.values()])
def test_a_batch_is_not_measured_as_one_model(function, solutions):
    with pytest.raises(ValueError, match=r"solution must be of a single model, got a batch \(2,\)"):
        function(solutions["batch"])
    function(solutions["convex"])


def test_the_functions_are_found():
    assert {"nc_jax.phase", "nc_jax.cosines", "nc_jax.metrics.collapse_metrics"} <= set(FUNCTIONS)
    assert {"nc_jax.design.separation", "nc_jax.diagnosis.diagnose"} <= set(FUNCTIONS)


def test_the_phase_of_classes_with_data_of_their_own_has_no_meaning(solutions):
    for kind in ("multilayer", "all layers", "code"):
        for function in (nc.phase, nc.phase_codes, jax.jit(lambda own: nc.phase_codes(own))):
            with pytest.raises(TypeError, match="solution must be a Solution or a FactoredSol"):
                function(solutions[kind])
    assert nc.phase(solutions["convex"]) == nc.phase(solutions["factored"]) == "separated"
    assert nc.phase(solutions["batch"]).shape == (2,)
    assert separation(solutions["convex"]) > 0
