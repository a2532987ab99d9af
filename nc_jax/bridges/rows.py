"""One batch of a network as checked rows of features and classes; errors name the batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np


def on_host(values: Any) -> Any:
    """A PyTorch tensor, a JAX array or numbers as a NumPy array, floats in float32.

    Half precision, bfloat16 and float64 are converted to float32; integers are not changed.
    """
    if hasattr(values, "detach"):
        values = values.detach()
        # Conversions that change nothing take microseconds, which a logger saves.
        values = values if values.device.type == "cpu" else values.cpu()
        single = values.element_size() == 4 or not values.is_floating_point()
        values = (values if single else values.float()).numpy()
    array = np.asarray(values)
    if array.dtype == np.float32:
        return array
    # NumPy itself has no kind for bfloat16.
    return array if array.dtype.kind in "biuOSUMmc" else _single(array)


def _single(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def unpack_pair(batch: Any) -> tuple[Any, Any]:
    """The default interpretation of a batch of a loader: a pair (inputs, labels).

    Raises:
        ValueError: the batch is not a pair; the message explains how to unpack it.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    if isinstance(batch, Mapping):
        found = f"a dict with the keys {sorted(map(str, batch))}"
        example = "lambda batch: (batch['image'], batch['label'])"
    elif isinstance(batch, tuple | list):
        found = f"a {type(batch).__name__} of length {len(batch)}"
        example = "lambda batch: (batch[0], batch[1])"
    else:
        found, example = f"a {type(batch).__name__}", "lambda batch: (batch.image, batch.label)"
    raise ValueError(
        f"a batch must be a pair (inputs, labels), got {found}; "
        f"give a function that returns such a pair, as in unpack={example}"
    )


def unpacked(batch: Any, unpack: Callable[[Any], tuple[Any, Any]], place: str) -> tuple[Any, Any]:
    """Inputs and labels of a batch.

    Raises:
        ValueError: naming the batch; it is not a pair, or ``unpack`` does not return one.
    """
    try:
        pair = unpack(batch)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise ValueError(f"{place}: unpack must return a pair (inputs, labels), got {type(pair)}")
    return pair


def checked_rows(
    features: Any, labels: Any, num_classes: int, ignore_index: int | None, place: str
) -> tuple[np.ndarray, np.ndarray]:
    """Features [..., p] and labels [...] of a batch as rows [n, p] and classes [n].

    Args:
        features: floats; all axes but the last are axes of samples.
        labels: integers 0…K−1, of the features' shape without its last axis.
        num_classes: K.
        ignore_index: rows with this label are left out; None for none.
        place: the name of the batch, for error messages.

    Returns:
        float32 and int32.

    Raises:
        ValueError: naming the batch and what is wrong with it.
    """
    features, labels = on_host(features), on_host(labels)
    if features.dtype != np.float32 or features.ndim < 2:
        raise ValueError(
            f"{place}: features must be floats [n, p] or [..., p], got {features.dtype} "
            f"of shape {features.shape}"
        )
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"{place}: labels must be integers 0…{num_classes - 1}, one a sample, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if labels.shape != features.shape[:-1]:
        raise ValueError(
            f"{place}: labels must have the shape {features.shape[:-1]}, that of the features "
            f"{features.shape} without the last axis, got {labels.shape}"
        )
    rows, classes = features.reshape(-1, features.shape[-1]), labels.reshape(-1)
    if ignore_index is not None:
        kept = classes != ignore_index
        rows, classes = rows[kept], classes[kept]
    wrong = (classes < 0) | (classes >= num_classes)
    if wrong.any():
        raise ValueError(
            f"{place}: labels must be 0…{num_classes - 1}, got {classes[wrong][0]}; change them "
            "by unpack=, or leave out rows without a class by ignore_index="
        )
    if not np.isfinite(rows).all():
        raise ValueError(f"{place}: features must be finite, got NaN or infinity")
    return rows, classes.astype(np.int32)


def regrouped(
    batches: Iterable[tuple[np.ndarray, np.ndarray]], size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same rows in parts of ``size``; the last part may be smaller.

    A compiled program has one shape, but the batches of a loader may have any. At most
    ``size`` rows and one batch are in memory, twice for a moment.
    """
    held: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch[1])
        if count < size:
            continue
        rows, classes = (np.concatenate(parts) for parts in zip(*held, strict=True))
        whole = count - count % size
        for first in range(0, whole, size):
            yield rows[first : first + size], classes[first : first + size]
        held, count = [(rows[whole:].copy(), classes[whole:].copy())], count - whole
    if count:
        rows, classes = (np.concatenate(parts) for parts in zip(*held, strict=True))
        yield rows, classes
