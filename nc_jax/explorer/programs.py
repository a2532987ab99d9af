"""One compiled program for each surrogate, loss and bias; K, K_A, R, E and λ are traced.

A program solves a fixed number of two-group models at a time, so that a map, a curve
and a single point share it. It is compiled when it is first used, by one thread while the
others wait.
"""

import dataclasses
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import nc_jax as nc
from nc_jax.explorer.settings import Family, MapSettings
from nc_jax.solvers import Solution, choose_solver
from nc_jax.surrogates import CountedLayerPeeled, CountedSizes, CountedUnconstrained
from nc_jax.xla import batch_options

# Models solved at a time: they fit into the cache of a core and take about a tenth of a second.
EXACT_LANES, ITERATIVE_LANES = 2_500, 64


class Lanes(NamedTuple):
    """Solved models.

    Attributes:
        solution: with the group numbers [n, ...].
        phases: [n] codes, see :class:`nc_jax.Phase`.
        cosines: [n, 2] of two large and of two small classifiers; NaN if undefined.
    """

    solution: Solution
    phases: Any
    cosines: Any


def make_loss(name: str) -> nc.Loss:
    """The loss with the name that the page uses."""
    losses = {
        "cross-entropy": nc.CrossEntropy,
        "squared-error": nc.MeanSquaredError,
        "centred-squared-error": nc.CentredSquaredError,
        "label-smoothing": nc.LabelSmoothing,
    }
    return losses[name]()


def is_exact(family: Family) -> bool:
    """Whether the scalar equation of two groups applies, which is thousands of times faster."""
    return family.surrogate == "layer-peeled" and family.loss == "cross-entropy"


class Program:
    """Solves many two-group models of one family."""

    def __init__(self, family: Family):
        """Compiles nothing; the first call does."""
        self.family = family
        self.lanes = EXACT_LANES if is_exact(family) else ITERATIVE_LANES
        self._lock = threading.Lock()
        self._compiled: Any = None

    @property
    def ready(self) -> bool:
        """Whether it has been compiled."""
        return self._compiled is not None

    def compile(self) -> None:
        """Compiles the program, which takes seconds, unless it has been compiled already."""
        with self._lock:
            if self._compiled is None:
                numbers = jax.ShapeDtypeStruct((self.lanes,), float)
                counts = jax.ShapeDtypeStruct((2,), int)
                one = jax.ShapeDtypeStruct((), float)
                batched = jax.vmap(self._lane, in_axes=(None, None, 0, 0))
                lowered = jax.jit(batched).lower(counts, one, numbers, numbers)
                self._compiled = lowered.compile(compiler_options=batch_options(library=False))

    def solve(self, settings: MapSettings, ratios: np.ndarray, strengths: np.ndarray) -> Lanes:
        """Solves up to ``lanes`` models at once.

        Args:
            settings: K, K_A and n_A.
            ratios: [n] imbalance ratios R.
            strengths: [n] budgets E or weight decays λ.
        """
        self.compile()
        count = len(ratios)
        # Copies of the last model fill the remaining lanes.
        padding = (0, self.lanes - count)
        solved = self._compiled(
            np.asarray([settings.majority, settings.classes - settings.majority]),
            np.asarray(settings.largest),
            np.pad(np.asarray(ratios, float), padding, mode="edge"),
            np.pad(np.asarray(strengths, float), padding, mode="edge"),
        )
        return Lanes(*jax.tree.map(lambda leaf: np.asarray(leaf)[:count], solved))

    def _lane(self, counts: Any, largest: Any, ratio: Any, strength: Any) -> Lanes:
        smallest = largest / ratio
        sizes = CountedSizes(counts, jnp.stack([jnp.broadcast_to(largest, ()), smallest]))
        solution = solve_sizes(self.family, sizes, strength)
        slim = dataclasses.replace(solution, model=None)
        return Lanes(slim, nc.phase_codes(solution), solution.within_cosines)


def solve_sizes(family: Family, sizes: CountedSizes, strength: Any) -> Any:
    """The solution of one model of a family; jit- and vmap-able.

    Args:
        family: surrogate, loss and bias.
        sizes: groups of classes.
        strength: E or λ, traced.
    """
    loss = make_loss(family.loss)
    if family.surrogate == "layer-peeled":
        model: Any = CountedLayerPeeled(sizes, strength, loss)
    else:
        bias = jnp.zeros_like(strength) if family.bias else None
        model = CountedUnconstrained(sizes, strength, loss, bias)
    return choose_solver(model)(model)


class Programs:
    """All programs of a server, and the threads that run them, one for each core."""

    def __init__(self):
        self._programs: dict[Family, Program] = {}
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "solver")

    def of(self, family: Family) -> Program:
        """The program of a family."""
        return self._programs.setdefault(family, Program(family))

    def blocks(
        self, settings: MapSettings, ratios: np.ndarray, strengths: np.ndarray
    ) -> Iterator[Lanes]:
        """Yields solved models in order, one block at a time; closing the iterator ends the work.

        Args:
            settings: K, K_A, n_A and family.
            ratios: [n].
            strengths: [n].
        """
        program = self.of(settings.family)
        program.compile()
        waiting = []
        try:
            for first in range(0, len(ratios), program.lanes):
                part = slice(first, first + program.lanes)
                waiting.append(
                    self._threads.submit(program.solve, settings, ratios[part], strengths[part])
                )
            for future in waiting:
                yield future.result()
        finally:
            for future in waiting:
                future.cancel()
