"""Features of a network as a stream: computed batch by batch, saved, measured, diagnosed."""

import itertools
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from nc_jax.bridges.rows import checked_rows, on_host, regrouped, unpacked
from nc_jax.checks import require_count
from nc_jax.diagnosis import Diagnosis, Measured, diagnose, measure_archive
from nc_jax.files import prepare_folder, write_atomically

# Largest number of rows that are measured at a time, and their largest size in bytes.
ROWS = 4096
BYTES = 2**26
EMPTY = "loader must hold at least one sample, got none"


class FeatureStream:
    """Features and labels of a network over a loader; all features are never in memory at once.

    Nothing is kept between passes: every pass runs the loader and the network again, with
    the current weights, and must give the same samples. :meth:`save` takes one pass,
    :meth:`measure` and :meth:`diagnose` take two. A loader that draws at random
    (augmentation, sampling with replacement) should be saved, and the file diagnosed.

    It is made by ``from_torch``, ``from_nnx``, ``from_linen`` and ``from_callable``.

    Attributes:
        names: [K] the labels 0…K−1.
    """

    def __init__(
        self,
        features: Callable[[Any], Any],
        loader: Iterable[Any],
        num_classes: int,
        head: Callable[[], tuple[Any, Any]],
        unpack: Callable[[Any], tuple[Any, Any]],
        ignore_index: int | None,
    ):
        """Stores the arguments and runs nothing.

        Args:
            features: from inputs to the features [n, p] or [..., p] of a batch; any floats
                of NumPy, PyTorch or JAX, which are cast to float32.
            loader: iterable of batches that can be iterated repeatedly.
            num_classes: K ≥ 2.
            head: returns the current classifiers [K, p] and bias [K]; None for either if it is
                not known.
            unpack: from a batch to (inputs, labels); the labels are integers 0…K−1 of the
                features' shape without its last axis.
            ignore_index: rows with this label are left out; None for none.

        Raises:
            TypeError, ValueError: naming the argument.
        """
        self.names = np.arange(require_count("num_classes", num_classes, 2))
        self._loader = require_loader(loader)
        self._features, self._head = features, head
        self._unpack, self._ignore_index = unpack, ignore_index
        self._counts: np.ndarray | None = None

    @property
    def classifiers(self) -> np.ndarray | None:
        """W [K, p] float32, or None.

        Raises:
            ValueError: they are not finite, or of another shape.
        """
        matrix = self._head()[0]
        return None if matrix is None else checked_classifiers(matrix, len(self.names))

    @property
    def bias(self) -> np.ndarray | None:
        """[K] float32, or None.

        Raises:
            ValueError: it is not finite, or of another shape.
        """
        vector = self._head()[1]
        return None if vector is None else checked_bias(vector, len(self.names))

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features [n, p], float32, and labels [n], int32, of one pass, in parts of equal size.

        Raises:
            ValueError: naming the batch of the loader and what is wrong with it; an empty
                loader; a class without a sample; other samples than in the pass before.
        """
        rows = self._rows()
        try:
            first = next(rows)
        except StopIteration:
            raise ValueError(EMPTY) from None
        size = max(1, min(ROWS, BYTES // (4 * first[0].shape[1])))
        yield from regrouped(itertools.chain([first], rows), size)

    def save(self, path: str | Path) -> None:
        """Writes features, labels, classifiers and bias, in one pass.

        The file (.npz) is what ``studies/diagnose.py`` reads. It is written atomically:
        completely or not at all. The number of rows is known only at the end, so the features
        are first written to a temporary file in the same folder, which needs twice the space.

        Raises:
            OSError, ValueError: the file cannot be written; or as :meth:`batches`.
        """
        path = Path(path)
        prepare_folder(path.parent)
        with tempfile.TemporaryFile(dir=path.parent) as spool:
            labels, width = self._spool(spool)
            spool.seek(0)
            arrays = {"labels": labels, "classifiers": self.classifiers, "bias": self.bias}
            write_atomically(path, lambda file: _pack(file, spool, (len(labels), width), arrays))

    def measure(self) -> Measured:
        """NC1–NC4, budgets, accuracies and cosines, in two passes.

        Raises:
            ValueError: as :meth:`batches`.
        """
        return measure_archive(self)

    def diagnose(self, weight_decay: float | None = None, branches: int = 1) -> Diagnosis:
        """What is measured, what the models predict, and cures; two passes.

        Args:
            weight_decay: λ > 0 of the training, on all parameters; None leaves out the
                prediction from weight decay alone.
            branches: c ≥ 1, the number of normalised outputs that are added to give the features.

        Raises:
            ValueError: naming the argument; or as :meth:`batches`.
        """
        return diagnose(self, weight_decay=weight_decay, branches=branches)

    def _rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Checked batches of the loader, and checks of the pass as a whole."""
        counts = np.zeros(len(self.names), np.int64)
        classifiers = self.classifiers
        width = None if classifiers is None else classifiers.shape[1]
        for number, batch in enumerate(self._loader):
            place = f"batch {number}"
            inputs, labels = unpacked(batch, self._unpack, place)
            rows, classes = checked_rows(
                self._features(inputs), labels, len(self.names), self._ignore_index, place
            )
            width = rows.shape[1] if width is None else width
            if rows.shape[1] != width:
                raise ValueError(f"{place}: features must have {width} columns, got {rows.shape}")
            if len(rows):
                counts += np.bincount(classes, minlength=len(counts))
                yield rows, classes
        self._check_pass(counts)

    def _check_pass(self, counts: np.ndarray) -> None:
        if not counts.any():
            return
        if not counts.all():
            missing = np.flatnonzero(counts == 0)
            shown = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
            raise ValueError(
                f"loader must hold samples of each of the {len(counts)} classes, none of: {shown}"
            )
        if self._counts is not None and (counts != self._counts).any():
            raise ValueError(
                "loader must give the same samples at each pass, got "
                f"{self._counts.sum()} and then {counts.sum()} samples or other class sizes; "
                "save one pass of it and diagnose the file"
            )
        self._counts = counts

    def _spool(self, spool: IO[bytes]) -> tuple[np.ndarray, int]:
        labels, width = [], 0
        for rows, classes in self.batches():
            spool.write(rows.astype("<f4", copy=False).tobytes())
            labels.append(classes)
            width = rows.shape[1]
        return np.concatenate(labels), width


def require_loader(loader: Any) -> Iterable[Any]:
    """Returns ``loader`` if it can be iterated repeatedly.

    Raises:
        TypeError: it cannot be iterated, or only once.
    """
    if isinstance(loader, Iterator):
        raise TypeError(
            "loader must be an iterable that starts again each time, such as a DataLoader or a "
            f"list of batches, got the one-time iterator {loader!r}"
        )
    if not isinstance(loader, Iterable):
        raise TypeError(f"loader must be an iterable of batches, got {loader!r}")
    return loader


def first_inputs(loader: Iterable[Any], unpack: Callable[[Any], tuple[Any, Any]]) -> Any:
    """The inputs of the first batch, which are used to find the last layer.

    Raises:
        TypeError, ValueError: the loader cannot be iterated repeatedly, or is empty; its
            batch cannot be unpacked.
    """
    for batch in require_loader(loader):
        return unpacked(batch, unpack, "batch 0")[0]
    raise ValueError(EMPTY)


def checked_classifiers(matrix: Any, num_classes: int) -> np.ndarray:
    """W [K, p] as float32, finite."""
    array = on_host(matrix)
    if array.ndim != 2 or len(array) != num_classes or array.dtype != np.float32:
        raise ValueError(
            f"classifiers must be floats [K, p], one row for each of the {num_classes} classes, "
            f"got {array.dtype} of shape {array.shape}"
        )
    return _finite("classifiers", array)


def checked_bias(vector: Any, num_classes: int) -> np.ndarray:
    """[K] as float32, finite."""
    array = on_host(vector)
    if array.shape != (num_classes,) or array.dtype != np.float32:
        raise ValueError(
            f"bias must be {num_classes} floats, one for each class, got {array.dtype} "
            f"of shape {array.shape}"
        )
    return _finite("bias", array)


def _finite(name: str, array: np.ndarray) -> np.ndarray:
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array


def _pack(
    path: Path, features: IO[bytes], shape: tuple[int, int], arrays: dict[str, np.ndarray | None]
) -> None:
    """An archive of features [N, p], given as bytes, and of small arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(member, header)
            shutil.copyfileobj(features, member, 2**20)
        for name, array in arrays.items():
            if array is not None:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)
