"""Which models a solver accepts, and what a solver declares about its batches."""

from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from jax import Array

from nc_jax.checks import offers
from nc_jax.losses import acts_on
from nc_jax.losses.forms import family_of
from nc_jax.solvers.duals import has_dual

Model = TypeVar("Model", contravariant=True)
Found = TypeVar("Found", covariant=True)


@runtime_checkable
class Surrogate(Protocol):
    """What every model declares; batch axes lead.

    A model is an immutable pytree (:func:`nc_jax.immutable.immutable`) that also offers the
    members of :class:`.GroupedProgram`, of :class:`.FactoredProgram`, or of both. If it is
    neither, it needs a solver of its own.
    """

    @property
    def loss(self) -> Any:
        """The loss."""
        ...

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The leading axes; () for a single model (:func:`nc_jax.batches.batch_shape`)."""
        ...

    @property
    def valid(self) -> Array:
        """[...] whether all numbers of a lane are valid."""
        ...


@runtime_checkable
class Solver(Protocol[Model, Found]):
    """An immutable object that holds settings and solves one model.

    It may also offer:

    - ``refusal(model)``: the error that a call would raise for this model, or None;
    - ``batching(model, lanes)``: a :class:`Batching`, if lanes should not run side by side;
    - ``solve_lanes(models, keys)``: a batch with one leading axis at once, with a key for each;
    - ``takes_batches = True``, if a call itself solves a batch of models with common data;
    - ``needed(model)``: what it reads of a model, or of models with one leading axis, so that
      models which differ in nothing else share a compiled program; it must accept both;
    - ``brief(model)``: whether it solves this model in hundredths of a second, so that less time
      is spent on the compilation, and LAPACK's threads do not help.
    """

    def __call__(self, model: Model, key: Array | None = None) -> Found:
        """Solves one model; pure, jit- and vmap-able."""
        ...

    def floats_per_lane(self, model: Model) -> int:
        """Rough number of floats that a lane of a batch occupies while it is solved."""
        ...


class Batching(NamedTuple):
    """How a batch is divided on a CPU, which runs a program of small matrices on one core.

    Attributes:
        parts: number of equal parts, each with a core of its own.
        at_a_time: largest number of lanes that run side by side; None for one after another.
        one_thread: whether LAPACK uses one thread, as it does whenever there are several parts.
    """

    parts: int
    at_a_time: int | None
    one_thread: bool = False


def is_brief(solver: Any, model: Any) -> bool:
    """Whether the solver takes hundredths of a second for a model, so that compiling dominates."""
    return hasattr(solver, "brief") and solver.brief(model)


def refusal_of(solver: Any, model: Any) -> Exception | None:
    """The error that the solver would raise for the model, if it declares one."""
    refuse = getattr(solver, "refusal", None)
    return None if refuse is None else refuse(model)


def require_accepted(solver: Any, model: Any) -> None:
    """Raises the solver's error unless it accepts the model."""
    error = refusal_of(solver, model)
    if error is not None:
        raise error


def why_not_convex(model: Any) -> str | None:
    """Why a model is not a convex program over group numbers; None if it is one."""
    if not offers(model, "row_scale"):
        return (
            "needs a model that is convex in the logits; use FactoredMultiStart for a "
            f"{type(model).__name__}"
        )
    if model.dimension < model.full_dimension:
        return (
            f"needs dimension ≥ {model.full_dimension}, because with fewer dimensions the "
            f"program is not convex in the logits; got {model.dimension}. Use FactoredMultiStart"
        )
    obstacle = getattr(model, "obstacle", None)
    if obstacle is not None:
        return f"does not support {obstacle}; use FactoredMultiStart"
    if acts_on(model.loss) == "targets":
        return f"does not support {type(model.loss).__name__}; use FactoredMultiStart"
    if not model.loss.convex:
        return (
            f"needs a loss that is convex in the logits; loss={type(model.loss).__name__} "
            "is not (its convex attribute is False). Use FactoredMultiStart"
        )
    if model.bias_penalty is not None and family_of(model.loss) is None:
        return (
            "certifies a bias (lambda_b) only for losses with a family, such as the convex losses "
            f"of nc_jax; got loss={type(model.loss).__name__}"
        )
    return None


def convex_refusal(solver: Any, model: Any) -> Exception | None:
    """The error of a certifying solver over group numbers; None if it accepts the model."""
    name, reason = type(solver).__name__, why_not_convex(model)
    if reason is not None:
        return ValueError(f"{name} {reason}")
    if model.sizes.merged and (model.bias_penalty is not None or not has_dual(model)):
        return ValueError(
            f"{name} certifies merged sizes (merge_sizes) only without a bias and for losses "
            f"with at_slope; got lambda_b={model.bias_penalty}, loss={type(model.loss).__name__}"
        )
    return None
