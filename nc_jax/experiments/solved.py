"""A surrogate and its outputs, given as functions: what a sweep evaluates on its grid."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax import Array

from nc_jax.experiments.outputs import measured_by
from nc_jax.solvers import solve_batch

Choices = Mapping[str, Any]
Columns = Mapping[str, Array]


def solved(
    model: Callable[[Choices, Columns], Any],
    outputs: Sequence[str] | Callable[[Any], Mapping[str, Array]],
    solver: Callable[[Choices], Any] | None = None,
) -> Callable[[Choices], Callable[[Columns, Array], dict[str, Array]]]:
    """Solves a surrogate at all points of a grid and returns its outputs.

    :class:`nc_jax.experiments.Experiment` does the same for surrogates that are given by name.

    Args:
        model: makes the batch of models [L] from the choices of a block, which are the same for
            all its points, and from the columns [L] of the points.
        outputs: names in :data:`nc_jax.experiments.OUTPUTS`, or a function from the batch of
            solutions to numbers [L] by name.
        solver: from the choices of a block to its solver; by default the best one is chosen.

    Returns:
        A function from the choices of a block to a function of (columns, keys [L]), as
        :func:`nc_jax.sweeps.run_sweep` and :func:`nc_jax.study.swept` take it. Rows that they
        store depend on the code of ``model``.

    Raises:
        ValueError: an unknown output; the message lists the known ones.
    """
    measure = outputs if callable(outputs) else measured_by(outputs)

    def build(choices: Choices) -> Callable[[Columns, Array], dict[str, Array]]:
        chosen = None if solver is None else solver(choices)

        def rows(columns: Columns, keys: Array) -> dict[str, Array]:
            return dict(measure(solve_batch(model(choices, columns), chosen, keys)))

        return rows

    build.__wrapped__ = model  # type: ignore[attr-defined]
    return build
