"""Immutable pytrees whose constructor validates its arguments exactly once.

JAX rebuilds a registered dataclass through its constructor at every unflatten,
with tracers or placeholders as fields. Types decorated here are rebuilt without
calling the constructor, so ``__init__`` may check and convert what a user passes
and report an error at that line.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def immutable(
    *,
    static: tuple[str, ...] = (),
    axes: Mapping[str, int] = MappingProxyType({}),
    shared: tuple[str, ...] = (),
) -> Callable[[type[T]], type[T]]:
    """Turns a class into a frozen dataclass that is also a pytree.

    Leading axes of an array make a batch. What else an array can have is declared here and
    read by :mod:`nc_jax.batches`.

    Args:
        static: names of the fields that are part of the tree's structure
            (hashable, compared at compile time). All others are children.
        axes: by name of a field, how many trailing axes a single instance has; zero by
            default, for a number.
        shared: names of the fields that all instances of a batch have in common.
    """

    def decorate(cls: type[T]) -> type[T]:
        # A subclass without fields of its own keeps the constructor of its base.
        own = "__annotations__" in cls.__dict__ or cls.__init__ is object.__init__
        cls = dataclasses.dataclass(frozen=True, eq=False, init=own)(cls)
        cls.own_axes, cls.shared_fields = dict(axes), tuple(shared)  # type: ignore[attr-defined]
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        children = tuple(name for name in names if name not in static)

        def flatten_with_keys(value: Any):
            keyed = [(jax.tree_util.GetAttrKey(n), getattr(value, n)) for n in children]
            return keyed, tuple(getattr(value, n) for n in static)

        def unflatten(aux: tuple, leaves: Any) -> Any:
            value = object.__new__(cls)
            for name, leaf in zip(children, leaves, strict=True):
                object.__setattr__(value, name, leaf)
            for name, item in zip(static, aux, strict=True):
                object.__setattr__(value, name, item)
            return value

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
        return cls

    return decorate


def derived(function: Callable[[Any], T]) -> T:
    """A property computed by one compiled program; without it, each operation compiles its own."""
    return property(jax.jit(function))  # type: ignore[return-value]


def set_fields(value: Any, **fields: Any) -> None:
    """Sets fields of a frozen instance, from inside its own ``__init__``."""
    for name, item in fields.items():
        object.__setattr__(value, name, item)


def with_fields(value: T, **fields: Any) -> T:
    """A copy with other fields; nothing is checked, so the caller must know that they fit."""
    made = object.__new__(type(value))
    for field in dataclasses.fields(value):  # type: ignore[arg-type]
        item = fields.get(field.name, getattr(value, field.name))
        object.__setattr__(made, field.name, item)
    return made
