"""Losses of a logit vector and its label.

A loss is a small immutable object; calling it is a pure function. Besides logits and
label it takes ``multiplicity``: how many identical copies each logit represents.
This makes it possible to write a program over K classes in terms of a few groups.
Numbers that differ from class to class are :class:`nc_jax.classes.ClassNumbers`.
"""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array

from nc_jax.classes import ClassNumbers


@runtime_checkable
class Loss(Protocol):
    """The interface of every loss. Its values are nonnegative, which certificates rely on.

    A loss may also declare, as plain attributes or methods:

    - ``acts_on``: 'logits' and a label (the default), 'targets' for logits and a row of
      probabilities, 'features' for inner products of features without a classifier;
    - ``at_slope(slopes, label, multiplicity=None)``, if it is convex: logits [..., K] at
      which the loss has the given slope in each single logit, or the closest slope
      possible. It makes duality gaps tighter (:mod:`nc_jax.solvers.duals`);
    - ``family`` and ``numbers(num_classes, dtype)``, if it has one of the two closed forms of
      :mod:`nc_jax.losses.forms`. A bias (``lambda_b``) is then certified, and the
      interior-point solver uses written-out derivatives.
    """

    @property
    def convex(self) -> bool:
        """Whether the loss is convex in the logits."""
        ...

    @property
    def shift_invariant(self) -> bool:
        """Whether adding a constant to all logits leaves the loss unchanged."""
        ...

    def __call__(self, logits: Array, label: Any, multiplicity: Any = None) -> Array:
        """Loss [...] of logits [..., K] and labels [...] (integers 0…K−1).

        ``multiplicity`` [..., K] tells how many classes share each logit; the
        entry at the label stands for the labelled class itself and must be 1.
        """
        ...


def has_slope(loss: Loss) -> bool:
    """Whether a loss offers ``at_slope``; one that wraps another does if the other does."""
    return hasattr(getattr(loss, "loss", loss), "at_slope") and hasattr(loss, "at_slope")


def require_loss(loss: Any) -> Loss:
    """The loss itself; TypeError if it is not a loss."""
    if not isinstance(loss, Loss):
        raise TypeError(f"loss must be an nc_jax loss such as CrossEntropy(), got {loss!r}")
    if not all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(loss)):
        raise TypeError(
            "loss must be a pytree whose leaves are arrays (decorate its class with "
            f"nc_jax.immutable.immutable()), got {loss!r}"
        )
    return loss


def acts_on(loss: Loss) -> str:
    """What a loss is a function of: 'logits' (and a label), 'targets' or 'features'."""
    return getattr(loss, "acts_on", "logits")


def class_numbers_of(loss: Loss) -> list[ClassNumbers]:
    """All numbers of a loss that differ from class to class."""
    leaves = jax.tree.leaves(loss, is_leaf=lambda leaf: isinstance(leaf, ClassNumbers))
    return [leaf for leaf in leaves if isinstance(leaf, ClassNumbers)]


def at_classes(loss: Loss, classes: Any) -> Loss:
    """The loss for logits of the given classes only, integers [C], which may repeat."""
    return jax.tree.map(
        lambda leaf: leaf.at(classes) if isinstance(leaf, ClassNumbers) else leaf,
        loss,
        is_leaf=lambda leaf: isinstance(leaf, ClassNumbers),
    )


def require_classes(loss: Loss, num_classes: int) -> None:
    """ValueError unless every number of a class-dependent loss is given for K classes."""
    for numbers in class_numbers_of(loss):
        if numbers.num_classes != num_classes:
            raise ValueError(
                f"loss must have {num_classes} class-dependent numbers, one for each class of "
                f"sizes, got {numbers.num_classes} in {type(loss).__name__}"
            )


def own_and_others(logits: Array, label: Any, multiplicity: Any) -> tuple[Array, Array, Array]:
    """The label's logit [..., 1], its one-hot mask, multiplicity off the label."""
    classes = jnp.arange(logits.shape[-1], dtype=jnp.asarray(label).dtype)
    own = classes == jnp.asarray(label)[..., None]
    count = jnp.ones((), logits.dtype) if multiplicity is None else multiplicity
    others = jnp.where(own, 0, jnp.asarray(count, logits.dtype))
    return jnp.sum(jnp.where(own, logits, 0), axis=-1, keepdims=True), own, others
