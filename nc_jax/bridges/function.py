"""Features of any callable, the classifiers given or found from the logits."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from nc_jax.bridges.fitted import fit_head
from nc_jax.bridges.rows import on_host, unpack_pair
from nc_jax.bridges.stream import FeatureStream, first_inputs


def from_callable(
    function: Callable[[Any], Any],
    loader: Iterable[Any],
    classifiers: Any = None,
    bias: Any = None,
    num_classes: int | None = None,
    unpack: Callable[[Any], tuple[Any, Any]] = unpack_pair,
    ignore_index: int | None = None,
) -> FeatureStream:
    """Features and labels of any function of the inputs.

    Args:
        function: from inputs to features [n, p] or [..., p], or to a pair of features and
            logits [n, K] or [..., K]; floats of NumPy, PyTorch or JAX, cast to float32. It is
            called on one batch immediately.
        loader: iterable of batches that can be iterated repeatedly.
        classifiers: W [K, p], one row a class. If they are not given and the function
            returns logits, W and the bias are found from the logits in one immediate pass by
            :func:`nc_jax.bridges.fit_head`, which describes what cannot be found.
        bias: [K]; None for no bias.
        num_classes: K ≥ 2; needed if there are neither classifiers nor logits.
        unpack: from a batch to (inputs, labels); the labels are integers 0…K−1 of the
            features' shape without its last axis.
        ignore_index: rows with this label are left out; None for none.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    if bias is not None and classifiers is None:
        raise ValueError("bias must come with classifiers")
    first = function(first_inputs(loader, unpack))
    paired = isinstance(first, tuple | list) and len(first) == 2
    if paired and classifiers is None:
        classifiers, bias = fit_head(function, loader, unpack)
    known = None if classifiers is None else on_host(classifiers)
    if known is not None:
        num_classes = len(np.atleast_1d(known))
    elif num_classes is None:
        raise ValueError("num_classes must be given if there are neither classifiers nor logits")

    def features(inputs: Any) -> Any:
        result = function(inputs)
        return result[0] if paired else result

    stream = FeatureStream(
        features, loader, num_classes, lambda: (known, bias), unpack, ignore_index
    )
    _ = stream.classifiers, stream.bias  # raises for a wrong shape before anything long is run
    return stream
