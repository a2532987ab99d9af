"""The last linear layer of a network: found among the layers that ran, or named by a path."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nc_jax.bridges.rows import on_host

# The outputs of the head and of the network may differ by this much because of rounding.
TOLERANCE = 1e-3
# Number of layers that an error message lists.
SHOWN = 8


class LinearCall(NamedTuple):
    """A linear layer that a network ran.

    Attributes:
        path: its name in the network, with dots.
        layer: the layer.
        inputs: [..., p].
        outputs: [..., K]; None if they were not needed.
    """

    path: str
    layer: Any
    inputs: Any
    outputs: Any


def find_head(calls: Sequence[LinearCall], result: Any, layer: str | None, kind: str) -> LinearCall:
    """The call of the last linear layer.

    Args:
        calls: all linear layers of one forward pass, in the order in which they ran.
        result: what the network returned: an array, or arrays in tuples, lists and dicts.
        layer: the path of the layer; None for the last that ran.
        kind: the type of these layers, for error messages.

    Raises:
        ValueError: no linear layer ran; the named layer did not run; or the output of the last
            layer is not part of what the network returned (up to a number common to all classes,
            as in the logarithm of a softmax), so that it is probably not the classifier.
    """
    paths = list(dict.fromkeys(call.path for call in calls))
    ran = ", ".join(repr(path) for path in paths[-SHOWN:]) or "none"
    if layer is not None:
        own = [call for call in calls if call.path == layer]
        if not own:
            raise ValueError(f"layer must be the path of a {kind} that runs, got {layer!r}; {ran}")
        return own[-1]
    other = (
        "otherwise use from_callable with a function that returns the classifier's inputs, "
        "and its classifiers"
    )
    if not calls:
        raise ValueError(f"no {kind} ran in the network, so its last layer is not known; {other}")
    last = calls[-1]
    logits = on_host(last.outputs)
    if not any(_same(logits, leaf) for leaf in _arrays(result)):
        raise ValueError(
            f"the last {kind} that ran, {last.path!r}, does not give the network's output, so it "
            f"may not be the classifier; name that with layer= (layers that ran: {ran}), or "
            f"{other}"
        )
    return last


def _arrays(result: Any) -> list[np.ndarray]:
    """Arrays in tuples, lists and dicts."""
    if isinstance(result, Mapping):
        result = list(result.values())
    if isinstance(result, tuple | list):
        return [array for part in result for array in _arrays(part)]
    return [on_host(result)] if hasattr(result, "shape") else []


def _same(logits: np.ndarray, array: np.ndarray) -> bool:
    """Whether two arrays [..., K] differ at most by one number per row."""
    if array.size != logits.size or array.shape[-1:] != logits.shape[-1:]:
        return False
    size = logits.shape[-1]
    one, other = (part.reshape(-1, size).astype(float) for part in (logits, array))
    one, other = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    return bool(np.allclose(one, other, TOLERANCE, TOLERANCE * np.abs(one).max(initial=0)))
