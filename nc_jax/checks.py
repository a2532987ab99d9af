"""Eager checks of user arguments: clear errors that name the argument.

Inside a JAX transformation the values are unknown; there the checks look at
shapes only, and a bad value shows up in the status of its lane.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

ARRAYS = (Array, np.ndarray, np.generic)


def require_kind(name: str, value: Any, kinds: Any, expected: str) -> None:
    """Raises TypeError unless ``value`` is of a class, or of one of several."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {expected}, got {type(value).__name__}")


def require_array(name: str, value: Any, expected: str) -> None:
    """Raises TypeError unless ``value`` is an array, for instance if it is a solution."""
    require_kind(name, value, ARRAYS, f"an array {expected}")


def offers(value: Any, *members: str) -> bool:
    """Whether ``value`` has attributes; its properties are not computed.

    A subclass hides an attribute by a property without a getter.
    """
    return all(_offers(value, member) for member in members)


def _offers(value: Any, member: str) -> bool:
    none = object()
    found = inspect.getattr_static(value, member, none)
    if isinstance(found, property):
        return found.fget is not None
    return found is not none or hasattr(value, member)


def require_members(name: str, value: Any, members: tuple[str, ...], expected: str) -> None:
    """Raises TypeError unless ``value`` has attributes; its properties are not computed."""
    if not offers(value, *members):
        raise TypeError(f"{name} must be {expected}, got {type(value).__name__}")


def is_concrete(value: Any) -> bool:
    """Whether the numbers in ``value`` are known now, so not traced."""
    return not isinstance(value, Tracer)


def float_array(name: str, value: Any, dtype: Any = None) -> Array:
    """``value`` as a floating-point JAX array.

    Args:
        name: the argument's name, for the error.
        value: a number or an array of numbers, any shape.
        dtype: the dtype to use; by default that of ``value`` where it is an
            inexact array, else JAX's default float.

    Raises:
        TypeError: ``value`` is not numeric.
    """
    if isinstance(value, Array):
        inexact = jnp.issubdtype(value.dtype, jnp.floating)
        return value.astype(dtype or (value.dtype if inexact else jnp.result_type(float)))
    try:
        numbers = np.asarray(value)
    except ValueError:
        numbers = np.asarray(None)
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a number or an array of numbers, got {value!r}")
    if dtype is None:
        inexact = numbers.dtype.kind == "f"
        dtype = jax.dtypes.canonicalize_dtype(numbers.dtype) if inexact else jnp.result_type(float)
    # Converted on the host and copied, which compiles nothing; jnp.asarray would.
    return jax.device_put(numbers.astype(dtype))


def taken(array: Array, index: np.ndarray) -> Array:
    """``array[..., index]``, on the host if the numbers are known."""
    known = is_concrete(array)
    return jax.device_put(np.asarray(array)[..., index]) if known else array[..., index]


def arrays_for(*values: Any) -> Any:
    """NumPy if all numbers are known now, otherwise ``jax.numpy``.

    Every single operation on a JAX array outside of a transformation is a program that
    is compiled first; the few numbers of a model are cheaper on the host.
    """
    return np if all(is_concrete(value) for value in values) else jnp


def common_dtype(*values: Any) -> Any:
    """The floating-point dtype of the given values; Python numbers do not affect it."""
    dtypes = [
        jax.dtypes.canonicalize_dtype(value.dtype)
        for value in values
        if isinstance(value, Array | np.ndarray | np.generic) and value.dtype.kind == "f"
    ]
    return jnp.result_type(*dtypes) if dtypes else jnp.result_type(float)


def is_positive(value: Array) -> Array:
    """Elementwise: positive and finite."""
    return jnp.isfinite(value) & (value > 0)


def require_positive(name: str, value: Array, lanes: bool = False, or_zero: bool = False) -> None:
    """Raises ValueError unless every number is positive (or zero) and finite.

    With ``lanes`` the value may be a batch: NaN, infinite or non-positive entries
    are then accepted, because each lane reports its own status, unless all are bad.
    """
    if not is_concrete(value):
        return
    numbers = np.asarray(value)
    if numbers.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {numbers.shape}")
    good = np.isfinite(numbers) & ((numbers >= 0) if or_zero else (numbers > 0))
    if good.all() or (lanes and good.any()):
        return
    shown = numbers if numbers.size <= 8 else numbers[~good][:8]
    wanted = "zero or positive" if or_zero else "positive"
    raise ValueError(f"{name} must be {wanted} and finite, got {shown!s}")


def require_count(name: str, value: Any, least: int) -> int:
    """``value`` as an int of at least ``least``; otherwise ValueError or TypeError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer of at least {least}, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)
