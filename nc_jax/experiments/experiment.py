"""Surrogate, loss and solver by name: a batched function over named columns.

This is the function that a sweep evaluates on its grid. Names that set a shape or a structure
(a number of classes, a depth) are choices, fixed when compiling; all others are numbers.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax import losses, solvers, surrogates
from nc_jax.datasets import balanced_features, gaussian_classes, load_images
from nc_jax.experiments.outputs import BY_GROUPS, measured_by, require_outputs
from nc_jax.geometry import ClassSizes, long_tailed, two_groups
from nc_jax.immutable import immutable, set_fields
from nc_jax.surrogates.counted import with_counts
from nc_jax.sweeps.engine import code_of
from nc_jax.sweeps.plan import CODE

LOSSES = {
    "cross-entropy": (losses.CrossEntropy, ()),
    "mean-squared-error": (losses.MeanSquaredError, ()),
    "power-softmax": (losses.PowerSoftmax, ("q",)),
    "supervised-contrastive": (losses.SupervisedContrastive, ("temperature",)),
}
SOLVERS = (
    "TwoGroupRoot",
    "ReducedInteriorPoint",
    "FactoredQuasiNewton",
    "FactoredMultiStart",
    "EliminatedMultiStart",
    "LayerwiseMultiStart",
)

# Class sizes: the names of their choices and of their numbers.
CLASSES = {
    "two-groups": (("majority", "minority", "num_classes"), ("ratio", "minority_size")),
    "long-tailed": (("num_classes",), ("ratio", "largest")),
    "balanced": (("num_classes",), ("class_size",)),
    "data": (("data", "num_classes", "per_class", "dimension", "sigma", "data_seed"), ()),
}
# Surrogates: class, names of choices and names of numbers.
SURROGATES = {
    "layer-peeled": (
        surrogates.LayerPeeled,
        ("dimension", "samples"),
        ("weight_energy", "feature_energy", "budget", "feature_power"),
    ),
    "unconstrained": (
        surrogates.UnconstrainedFeatures,
        ("dimension", "samples"),
        ("lambda_w", "lambda_h", "lambda_b"),
    ),
    "deep-layer-peeled": (
        surrogates.DeepLayerPeeled,
        ("num_layers", "activation", "samples"),
        ("weight_energy", "feature_energy", "budget"),
    ),
    "multilayer": (
        surrogates.MultilayerUnconstrainedFeatures,
        ("num_layers",),
        ("lambda_w", "lambda_h"),
    ),
}
# Certified over the numbers of groups, for which numbers of classes can be columns as well.
BY_COUNTS = ("layer-peeled", "unconstrained"), ("auto", "TwoGroupRoot", "ReducedInteriorPoint")
# Settings of a surrogate with which it is not, or depends on the list of classes.
NOT_BY_COUNTS = {"dimension", "samples", "feature_power"}
# Choices that are not counts.
TEXTS, REALS = ("activation", "data"), ("sigma",)


@immutable(
    static=("surrogate", "classes", "loss", "solver", "settings", "outputs", "fixed", "dtype")
)
class Experiment:
    """A function of named columns, built from names.

    Attributes:
        surrogate: a name in :data:`SURROGATES`.
        classes: a name in :data:`CLASSES`.
        loss: a name in :data:`LOSSES`.
        solver: a name in :data:`SOLVERS`, or 'auto'.
        settings: settings of the solver, as sorted pairs; none for 'auto'.
        outputs: names in :data:`nc_jax.experiments.OUTPUTS`.
        fixed: names and values that are the same at all points, as sorted pairs.
        dtype: 'float64' or 'float32'.
    """

    surrogate: str
    classes: str
    loss: str
    solver: str
    settings: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]
    fixed: tuple[tuple[str, Any], ...]
    dtype: str

    def __init__(
        self,
        surrogate: str = "layer-peeled",
        classes: str = "two-groups",
        loss: str = "cross-entropy",
        solver: str | Mapping[str, Any] = "auto",
        outputs: Any = ("status", "phase", "objective", "gap"),
        fixed: Mapping[str, Any] | None = None,
        dtype: str = "float64",
    ):
        """Checks the names; see the class for the arguments.

        A solver with settings is a table with its ``name`` and the settings.

        Raises:
            ValueError: an unknown name; the message lists the known ones.
        """
        table = dict(solver) if isinstance(solver, Mapping) else {"name": solver}
        method: Any = table.pop("name", "")
        known = {
            "surrogate": (surrogate, SURROGATES),
            "classes": (classes, CLASSES),
            "loss": (loss, LOSSES),
            "solver": (method, ("auto", *SOLVERS)),
            "dtype": (dtype, ("float64", "float32")),
        }
        for key, (value, names) in known.items():
            _require_known(key, value, names)
        if (surrogate == "multilayer") != (classes == "data"):
            raise ValueError(
                f"classes = 'data' and surrogate = 'multilayer' must be used together, "
                f"got {classes!r} with {surrogate!r}"
            )
        _solver(method, table)
        require_outputs(outputs, surrogate, classes)
        fixed = dict(fixed or {})
        set_fields(
            self,
            surrogate=surrogate,
            classes=classes,
            loss=loss,
            solver=method,
            settings=tuple(sorted(table.items())),
            outputs=tuple(dict.fromkeys(outputs)),
            fixed=tuple(sorted(fixed.items())),
            dtype=dtype,
        )
        for name, value in fixed.items():
            self.require_value("model", name, [value])

    @property
    def choices(self) -> tuple[str, ...]:
        """Names that are fixed in a compiled program."""
        return CLASSES[self.classes][0] + SURROGATES[self.surrogate][1]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of numbers that may vary from point to point."""
        own = CLASSES[self.classes][1] + SURROGATES[self.surrogate][2]
        return own + LOSSES[self.loss][1]

    def require_value(self, place: str, name: str, values: Any) -> None:
        """Raises ValueError if a name is unknown or a value is of the wrong kind."""
        _require_known(place, name, (*self.choices, *self.numbers))
        for value in values:
            if name in TEXTS:
                good, kind = isinstance(value, str), "a string"
            elif name in REALS:
                good, kind = isinstance(value, int | float), "a number"
            elif name in self.choices:
                good = isinstance(value, int | np.integer) and not isinstance(value, bool)
                good, kind = good and value >= 1, "a positive integer"
            else:
                good = isinstance(value, int | float | np.number) and not isinstance(value, bool)
                kind = "a number"
            if not good:
                raise ValueError(f"{place}: {name} must be {kind}, got {value!r}")

    def spec(self) -> dict[str, Any]:
        """The whole experiment as JSON, with a digest of the code that its numbers depend on.

        As the settings of a :class:`nc_jax.sweeps.Plan` it has the effect that stored rows of
        other code are not reused.
        """
        named = {name: getattr(self, name) for name in ("surrogate", "classes", "loss", "dtype")}
        solver = {"name": self.solver} | dict(self.settings) if self.settings else self.solver
        lists = {"outputs": list(self.outputs), "model": dict(self.fixed)}
        return named | {"solver": solver} | lists | {CODE: code_of(self)}

    def __call__(self, choices: Mapping[str, Any]) -> Callable[..., dict[str, Array]]:
        """The batched function for a block's choices: (columns, keys) → outputs."""
        chosen = {name: value for name, value in self.fixed if name in self.choices} | dict(choices)
        given = {name: value for name, value in self.fixed if name not in self.choices}

        def function(columns: Mapping[str, Array], keys: Array) -> dict[str, Array]:
            dtype = jnp.dtype(self.dtype)
            count = keys.shape[0]
            numbers = {name: jnp.full(count, value, dtype) for name, value in given.items()}
            numbers |= {name: jnp.asarray(column, dtype) for name, column in columns.items()}
            model = self.model(chosen, numbers, count)
            solver = _solver(self.solver, dict(self.settings))
            return measured_by(self.outputs)(solvers.solve_batch(model, solver, keys))

        return function

    def traceable(self, choices: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
        """The numbers of classes among a block's choices, if they can be columns as well.

        Then blocks of other numbers of classes share a compiled program
        (:func:`nc_jax.sweeps.run_sweep`). None can if they are invalid.

        Args:
            choices: of a block.
            names: of the block's columns.
        """
        kinds, methods = BY_COUNTS
        used = {*choices, *names, *dict(self.fixed)}
        by_counts = (
            self.surrogate in kinds
            and self.solver in methods
            and self.classes in PARTS
            and LOSSES[self.loss][0].convex
            and set(self.outputs) <= set(BY_GROUPS)
            and not used & NOT_BY_COUNTS
        )
        if not by_counts or not _are_counts(self.classes, {**dict(self.fixed), **choices}):
            return ()
        return tuple(name for name in CLASSES[self.classes][0] if name in choices)

    def model(self, choices: Mapping[str, Any], numbers: Mapping[str, Array], count: int) -> Any:
        """The batch of models of several points.

        Raises:
            ValueError: a name that the model needs is missing.
        """
        numbers, choices = dict(numbers), dict(choices)
        names = CLASSES[self.classes][0]
        columns = {name: numbers.pop(name) for name in names if name in numbers}
        counts = None
        if columns:
            own = {name: choices.pop(name) for name in names if name in choices} | columns
            counts = _stacked(PARTS[self.classes](own), count)
            # Any numbers of classes, in whose place the columns come.
            choices |= {"num_classes": 2 * counts.shape[-1], "majority": 2}
        if self.classes == "data":
            first = _samples(choices)
        else:
            first = (self._sizes(dict(choices), numbers, count),)
        maker, own_choices, own_numbers = SURROGATES[self.surrogate]
        loss_maker, loss_names = LOSSES[self.loss]
        loss_numbers = {name: numbers[name] for name in loss_names if name in numbers}
        if "budget" in numbers:
            # E = √(E_W E_H).
            weight = numbers.setdefault("weight_energy", jnp.ones_like(numbers["budget"]))
            numbers["feature_energy"] = numbers["budget"] ** 2 / weight
        arguments = {name: choices[name] for name in own_choices if name in choices}
        arguments |= {
            name: numbers[name] for name in own_numbers if name in numbers and name != "budget"
        }
        needed = inspect.signature(maker).parameters.values()
        missing = [
            p.name
            for p in needed
            if p.default is p.empty and p.name not in ("sizes", "inputs", "labels", *arguments)
        ]
        if missing:
            raise ValueError(f"{self.surrogate} needs {', '.join(missing)} in [axes] or [model]")
        model = maker(*first, loss=loss_maker(**loss_numbers), **arguments)
        return model if counts is None else with_counts(model, counts)

    def _sizes(self, choices: dict[str, Any], numbers: dict[str, Array], count: int) -> ClassSizes:
        ones = jnp.ones(count, jnp.dtype(self.dtype))
        if self.classes == "two-groups":
            majority, minority = _group_counts(choices)
            _require_given(numbers, "two-groups", "ratio")
            size = numbers.get("minority_size", ones)
            return two_groups(majority, minority, numbers["ratio"], size)
        _require_given(choices, self.classes, "num_classes")
        if self.classes == "long-tailed":
            _require_given(numbers, "long-tailed", "ratio")
            largest = numbers.get("largest", ones)
            return long_tailed(choices["num_classes"], numbers["ratio"], largest)
        size = numbers.get("class_size", ones)
        return ClassSizes(size[:, None], (0,) * choices["num_classes"])

    def check(self, choices: Mapping[str, Any], columns: Mapping[str, Any]) -> None:
        """Traces a block's function on a few points without solving.

        Raises:
            ValueError: describes what is wrong with the names or the choices.
        """
        keys = jax.random.split(jax.random.key(0), len(next(iter(columns.values()))))
        jax.eval_shape(self(choices), dict(columns), keys)


def experiment_from(spec: Mapping[str, Any]) -> Experiment:
    """The experiment that has the given ``spec()``."""
    names = ("surrogate", "classes", "loss", "solver", "dtype", "outputs")
    return Experiment(fixed=spec["model"], **{name: spec[name] for name in names})


def _solver(name: str, settings: Mapping[str, Any]) -> Any:
    """The solver, or None for 'auto'."""
    if name == "auto":
        if settings:
            raise ValueError(f"solver: 'auto' takes no settings, got {', '.join(settings)}")
        return None
    maker = getattr(solvers, name)
    known = list(inspect.signature(maker).parameters)
    for key in settings:
        if key not in known:
            raise ValueError(f"solver: {name} has no setting {key!r}; expected {', '.join(known)}")
    try:
        return maker(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"solver: {error}") from error


def _samples(choices: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels: Gaussian classes, or pixels of a data set in $NC_JAX_DATA."""
    for name in ("data", "num_classes", "per_class"):
        _require_given(choices, "classes = 'data'", name)
    size, seed = (choices["num_classes"], choices["per_class"]), choices.get("data_seed", 1)
    if choices["data"] == "gaussian":
        for name in ("dimension", "sigma"):
            _require_given(choices, "data = 'gaussian'", name)
        return gaussian_classes(*size, choices["dimension"], choices["sigma"], seed)
    for name in ("dimension", "sigma"):
        if name in choices:
            raise ValueError(f"{name} is only for data = 'gaussian'; {choices['data']} has its own")
    return balanced_features(load_images(choices["data"]), *size, seed)


def _group_counts(choices: Mapping[str, Any]) -> tuple[int, int]:
    """K_A and K_B from any two of K_A, K_B and K."""
    names = ("majority", "minority", "num_classes")
    given = {name: choices[name] for name in names if name in choices}
    if len(given) != 2:
        raise ValueError(
            f"two-groups needs exactly two of {', '.join(names)}, got {', '.join(given) or 'none'}"
        )
    total = given.get("num_classes")
    for name, count in given.items():
        if total is not None and name != "num_classes" and not 1 <= count < total:
            raise ValueError(f"{name} must be from 1 to num_classes − 1 = {total - 1}, got {count}")
    return _two_parts(given)


def _two_parts(given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The same without a check, of numbers that may be traced."""
    if "num_classes" not in given:
        return given["majority"], given["minority"]
    if "majority" in given:
        return given["majority"], given["num_classes"] - given["majority"]
    return given["num_classes"] - given["minority"], given["minority"]


# The numbers of classes in each group.
PARTS: dict[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] = {
    "two-groups": _two_parts,
    "balanced": lambda given: (given["num_classes"],),
}


def _are_counts(classes: str, choices: Mapping[str, Any]) -> bool:
    """Whether the choices are valid numbers of classes."""
    try:
        given = _group_counts(choices) if classes == "two-groups" else PARTS[classes](choices)
    except (KeyError, TypeError, ValueError):
        return False
    whole = all(isinstance(count, int | np.integer) and count >= 1 for count in given)
    return whole and sum(given) >= 2


def _stacked(parts: tuple[Any, ...], count: int) -> Array:
    """[n, G] integers."""
    columns = [jnp.broadcast_to(jnp.asarray(part), count) for part in parts]
    return jnp.stack([column.astype(jnp.int32) for column in columns], axis=-1)


def _require_known(key: str, value: Any, names: Any) -> None:
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{key} must be one of {', '.join(names)}, got {value!r}")


def _require_given(given: Mapping[str, Any], what: str, name: str) -> None:
    if name not in given:
        raise ValueError(f"{what} needs {name} in [axes] or [model]")
