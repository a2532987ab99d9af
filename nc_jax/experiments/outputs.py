"""The outputs of an experiment by name: one number for each solution of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.geometry import gram
from nc_jax.metrics import CollapseMetrics, collapse_metrics, feedforward_metrics, mean_cosine
from nc_jax.solvers import phase_codes

# Number of lanes whose samples are processed at the same time.
LANES = 256

Output = Callable[[Any], Array]


def _group_cosine(group: int) -> Output:
    def measure(solution: Any) -> Array:
        if hasattr(solution, "within_cosines"):
            return solution.within_cosines[..., group]
        members = np.asarray(solution.model.sizes.membership) == group
        return mean_cosine(solution.classifiers[..., members, :])

    return measure


def _group_norm(group: int) -> Output:
    def measure(solution: Any) -> Array:
        if hasattr(solution, "classifier_norms"):
            return solution.classifier_norms[..., group]
        members = np.flatnonzero(np.asarray(solution.model.sizes.membership) == group)
        return jnp.mean(jnp.linalg.norm(solution.classifiers[..., members, :], axis=-1), axis=-1)

    return measure


def _tail_cosine(solution: Any) -> Array:
    """Mean cosine of the classifiers of the smaller half of the classes."""
    sizes = solution.model.sizes.class_sizes
    smaller = jnp.argsort(sizes, axis=-1)[..., : max(sizes.shape[-1] // 2, 2)]
    return mean_cosine(jnp.take_along_axis(solution.classifiers, smaller[..., None], axis=-2))


def _norms(solution: Any) -> Array:
    squares = jnp.diagonal(gram(solution.classifiers), axis1=-2, axis2=-1)
    return jnp.sqrt(jnp.maximum(squares, 0))


def _field(name: str) -> Output:
    return lambda solution: getattr(solution, name)


def _lanewise(measure: Output) -> Output:
    """Applies a measure to one solution at a time, because all samples at once may be many."""

    def each(solution: Any) -> Array:
        count = solution.status.shape[0]
        if hasattr(solution, "lane"):
            lanes = jnp.arange(count)
            return jax.lax.map(lambda lane: measure(solution.lane(lane)), lanes)
        return jax.lax.map(measure, solution, batch_size=min(count, LANES))

    return each


def _collapse(name: str) -> Output:
    return _lanewise(lambda one: getattr(collapse_metrics(one), name))


def _feedforward(name: str) -> Output:
    def measure(one: Any) -> Array:
        classes = one.classifiers.shape[0]
        return getattr(feedforward_metrics([one.sample_features], one.labels, classes), name)[0]

    return _lanewise(measure)


CLASSIFIERS: dict[str, Output] = {
    "tail_cosine": _tail_cosine,
    "largest_norm": lambda solution: jnp.max(_norms(solution), axis=-1),
    "smallest_norm": lambda solution: jnp.min(_norms(solution), axis=-1),
}
TWO_GROUPS: dict[str, Output] = {
    "majority_cosine": _group_cosine(0),
    "minority_cosine": _group_cosine(1),
    "majority_norm": _group_norm(0),
    "minority_norm": _group_norm(1),
}
RESTARTS: dict[str, Output] = {name: _field(name) for name in ("residual", "spread")}
COLLAPSE: dict[str, Output] = {name: _collapse(name) for name in CollapseMetrics._fields}
MULTILAYER: dict[str, Output] = {
    **{name: _feedforward(name) for name in ("pfc1", "pfc2", "pfc3")},
    "alignment": _lanewise(_field("alignment")),
}
# Those that need no list of classes.
BY_GROUPS: dict[str, Output] = {
    "status": lambda solution: solution.status.astype(jnp.int8),
    "phase": lambda solution: phase_codes(solution).astype(jnp.int8),
    **{name: _field(name) for name in ("objective", "gap", "iterations")},
    **TWO_GROUPS,
}
OUTPUTS: dict[str, Output] = {
    **BY_GROUPS,
    **RESTARTS,
    **CLASSIFIERS,
    **COLLAPSE,
    **MULTILAYER,
}


def measured_by(names: Sequence[str]) -> Callable[[Any], dict[str, Array]]:
    """The function from a batch of solutions to the outputs with the given names.

    Raises:
        ValueError: an unknown name, or, of the function, one that the solution does not have.
    """
    _require_names(names)

    def measure(solution: Any) -> dict[str, Array]:
        for name in set(names) & set(RESTARTS):
            if not hasattr(solution, name):
                raise ValueError(f"outputs: {name} needs solver = 'FactoredMultiStart'")
        return {name: OUTPUTS[name](solution) for name in names}

    return measure


def _require_names(names: Any) -> None:
    """Raises ValueError unless all names are known, and there is at least one."""
    if isinstance(names, str) or not len(names):
        raise ValueError(f"outputs must be a list of at least one name, got {names!r}")
    for name in names:
        if not isinstance(name, str) or name not in OUTPUTS:
            raise ValueError(f"outputs must be one of {', '.join(OUTPUTS)}, got {name!r}")


def require_outputs(outputs: Sequence[str], surrogate: str, classes: str) -> None:
    """Raises ValueError for an unknown name, or one that the experiment has no value for."""
    _require_names(outputs)
    multilayer = surrogate == "multilayer"
    for name in outputs:
        if name in TWO_GROUPS and classes != "two-groups":
            raise ValueError(f"outputs: {name} needs classes = 'two-groups', not {classes!r}")
        if name in MULTILAYER and not multilayer:
            raise ValueError(f"outputs: {name} needs surrogate = 'multilayer', not {surrogate!r}")
        if multilayer and (name == "phase" or name in CLASSIFIERS):
            raise ValueError(f"outputs: {name} has no value for surrogate = 'multilayer'")
