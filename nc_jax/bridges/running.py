"""Class means and variances of features that arrive batch by batch, on their own device.

The first batch is copied to the host, where its mean becomes the centre of the sums; after
it only sums are copied, once for many batches. The sums Σ (x − c_k) and Σ ‖x − c_k‖² of a
class with mean m and variance v have a fixed centre c_k, and v follows as the difference of
two numbers: its relative error is about that of float32 times 1 + ‖m − c‖²/v. The centres of
an epoch are the class means of the epoch before, or the origin if that loses few digits: a
PyTorch batch is then neither copied nor shifted.
"""

import functools
import math
import sys
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from nc_jax.bridges.rows import on_host

# What is held of JAX arrays before it is summed: bytes of float32, and batches.
BYTES = 2**22
BATCHES = 16
# Batches of PyTorch that are summed in float32 before their sum is added to the total in
# float64 on the host, for which the host waits for the device.
PARTIAL = 64
# The origin is the centre of the sums while every class has v/‖m‖² above this.
SPREAD = 0.01


class RunningSums(NamedTuple):
    """Sums over all samples x so far, relative to centres c_k.

    Attributes:
        centres: c_k [K, p], or the number 0.
        counts: [K] samples of each class.
        sums: [K, p] Σ (x − c_k).
        squares: [K] Σ ‖x − c_k‖².
    """

    centres: Any
    counts: Any
    sums: Any
    squares: Any


def no_sums(centres: np.ndarray) -> RunningSums:
    """The sums over no sample about centres [K, p], as NumPy arrays in float32."""
    zeros = np.zeros(centres.shape, np.float32)
    counts = np.zeros(len(centres), np.int32)
    return RunningSums(centres.astype(np.float32), counts, zeros, zeros[:, 0])


def moments(total: RunningSums) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts [K], means [K, p] and variances [K] in float64; NaN for a class without samples."""
    centres, counts, sums, squares = map(np.asarray, total)
    with np.errstate(invalid="ignore"):
        apart, distances = sums / counts[:, None], squares / counts
    variances = np.maximum(distances - np.vecdot(apart, apart), 0)
    return counts, np.add(centres, apart, apart), variances


def next_centres(means: np.ndarray, variances: np.ndarray) -> np.ndarray | None:
    """Centres [K, p] of the next epoch from the class means and variances of this one.

    None is the origin. A class without samples gets the mean of the other classes' means.
    """
    if not (variances < SPREAD * np.vecdot(means, means)).any():
        return None
    unseen = np.isnan(variances)
    return np.where(unseen[:, None], means[~unseen].mean(axis=0), means)


class Accumulator(Protocol):
    """Running sums over the batches of an epoch.

    Attributes:
        share: the processor time that it may take of a training's time, as measured around
            its calls, so that it costs about 5 % of the time at most.
    """

    share: float

    def start(self, centres: np.ndarray | None) -> None:
        """Begins anew, with sums about centres [K, p]; None for the origin."""
        ...

    def add(self, features: Any, labels: Any) -> None:
        """Adds a batch, [..., p] and [...]; rows with a label of no class are left out."""
        ...

    def total(self) -> RunningSums:
        """The sums over all batches."""
        ...


def accumulator(features: Any, labels: Any, num_classes: int) -> Accumulator:
    """For batches like this first one, with sums about the mean of its rows.

    Args:
        features: [..., p].
        labels: [...]; rows whose label is not in 0…K−1 do not enter the mean.
        num_classes: K.
    """
    rows, labels = on_host(features).reshape(-1, features.shape[-1]), on_host(labels).reshape(-1)
    rows = rows[(labels >= 0) & (labels < num_classes)].astype(np.float32)
    centre = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
    shape = num_classes, rows.shape[1]
    if hasattr(features, "detach"):
        found = TorchSums(features.device, shape)
    else:
        devices = features.devices() if isinstance(features, jax.Array) else ()
        on_host_only = all(device.platform == "cpu" for device in devices)
        found = HostSums(shape) if on_host_only else ArraySums(shape)
    found.start(np.broadcast_to(centre, shape))
    return found


class TorchSums:
    """Sums over PyTorch tensors, by few operations a batch, which autocast leaves alone.

    In a fast training step, starting an operation takes as long as running it: its code is no
    longer in the processor's cache. The distances from the centres are therefore kept and
    summed once for several batches.
    """

    # Each call also takes the step's place in the caches: it costs two to three times its time.
    share = 0.015

    def __init__(self, device: Any, shape: tuple[int, int]):
        """On a device and for centres [K, p]; :meth:`start` comes first."""
        self._torch, (classes, width) = sys.modules["torch"], shape
        place = functools.partial(self._torch.tensor, device=device)
        # The first and the last row take the samples whose label is too small or too large.
        self._sums = place(np.zeros((classes + 2, width), np.float32))
        self._centres = self._torch.zeros_like(self._sums)
        self._bounds = place(np.arange(classes + 1))

    def start(self, centres: np.ndarray | None) -> None:
        """Begins anew, with sums about centres [K, p]; None for the origin."""
        self._centred, self._about = centres is not None, np.float32(0)
        if centres is not None:
            self._about = centres.astype(np.float32)
            self._centres[1:-1] = self._torch.from_numpy(self._about)
        self._total: tuple[np.ndarray, ...] | None = None
        self._kept: list[tuple[Any, Any]] = []

    def add(self, features: Any, labels: Any) -> None:
        """Adds a batch, [..., p] and [...]; rows with a label of no class are left out."""
        torch, bounds = self._torch, self._bounds
        # Each of these conversions takes microseconds, also if it changes nothing.
        rows = features.detach() if features.requires_grad else features
        rows = rows if rows.ndim == 2 else rows.reshape(-1, rows.shape[-1])
        rows = rows if rows.dtype == torch.float32 else rows.float()
        if getattr(labels, "dtype", None) != torch.int64 or labels.device != bounds.device:
            labels = torch.as_tensor(labels, device=bounds.device).long()
        labels = labels if labels.ndim == 1 else labels.reshape(-1)
        own = torch.bucketize(labels, bounds, right=True)
        if self._centred:
            rows = self._centres.index_select(0, own).sub_(rows)
        self._sums.index_add_(0, own, rows, alpha=-1 if self._centred else 1)
        self._kept.append((own, torch.linalg.vector_norm(rows, dim=1)))
        if len(self._kept) == PARTIAL:
            self._carry()

    def total(self) -> RunningSums:
        """The sums over all batches."""
        if self._kept or self._total is None:
            self._carry()
        return RunningSums(self._about, *(part[1:-1] for part in self._total or ()))

    def _carry(self) -> None:
        """Adds the sums of the last batches to the total, which is on the host in float64."""
        own, lengths = (on_host(self._torch.cat(parts)) for parts in zip(*self._kept, strict=True))
        size = len(self._sums)
        squares = np.bincount(own, np.square(lengths, dtype=np.float64), size)
        sums = on_host(self._sums).astype(np.float64)
        parts = np.bincount(own, minlength=size), sums, squares
        self._total = parts if self._total is None else tuple(map(np.add, self._total, parts))
        self._sums.zero_()
        self._kept = []


class ArraySums:
    """Sums over JAX arrays on a device; several batches are held and summed by one program."""

    share = 0.02

    def __init__(self, shape: tuple[int, int]):
        """For centres [K, p]; :meth:`start` comes first."""
        self._origin = np.zeros(shape)

    def start(self, centres: np.ndarray | None) -> None:
        """Begins anew, with sums about centres [K, p]; None for the origin."""
        self._held: list[tuple[Any, Any]] = []
        self._sums = no_sums(self._origin if centres is None else centres)

    def add(self, features: Any, labels: Any) -> None:
        """Adds a batch, [..., p] and [...]; rows with a label of no class are left out."""
        # A NumPy array is copied: its owner may change it before it is summed.
        if not isinstance(features, jax.Array):
            features = np.array(features, np.float32)
        labels = labels if isinstance(labels, jax.Array) else np.array(labels)
        if self._held and features.shape != self._held[0][0].shape:
            self._sum_held()
        self._held.append((features, labels))
        if len(self._held) >= min(BATCHES, BYTES // (4 * max(1, math.prod(features.shape)))):
            self._sum_held()

    def total(self) -> RunningSums:
        """The sums over all batches."""
        self._sum_held()
        return self._sums

    def _sum_held(self) -> None:
        held, self._held = self._held, []
        # A program is compiled for each number of batches; powers of two are few.
        while held:
            size = 1 << (len(held).bit_length() - 1)
            features, labels = zip(*held[:size], strict=True)
            self._sums = _with_batches(self._sums, features, labels)
            held = held[size:]


class HostSums(ArraySums):
    """Sums over JAX arrays on the CPU or NumPy arrays, in NumPy.

    JAX would switch threads for every program that uses the output of a training step, which
    can take longer than the sums of a batch. Batches are held because the step that computes
    the latest may still be running.
    """

    def start(self, centres: np.ndarray | None) -> None:
        """Begins anew, with sums about centres [K, p]; None for the origin."""
        self._held: list[tuple[Any, Any]] = []
        self._centred = centres is not None
        about = self._origin if centres is None else centres
        parts = np.zeros(len(about)), np.zeros(about.shape), np.zeros(len(about))
        self._sums = RunningSums(about.astype(np.float32), *parts)

    def _sum_held(self) -> None:
        held, self._held = self._held, []
        size = max(1, BYTES // (4 * len(self._origin)))
        for features, labels in held:
            rows = np.asarray(features, np.float32).reshape(-1, features.shape[-1])
            own = np.asarray(labels).reshape(-1)
            for first in range(0, len(own), size):
                self._sum_rows(rows[first : first + size], own[first : first + size])

    def _sum_rows(self, rows: np.ndarray, own: np.ndarray) -> None:
        centres, counts, sums, squares = self._sums
        # One row per class: a product with it sums over the samples of the class.
        member = (np.arange(len(counts))[:, None] == own).astype(np.float32)
        sizes = member.sum(axis=1)
        if sizes.sum() < len(own):
            known = member.any(axis=0)
            rows, own, member = rows[known], own[known], member[:, known]
        if self._centred:
            rows = rows - centres[own]
        counts += sizes
        sums += member @ rows
        squares += member @ np.vecdot(rows, rows)


@jax.jit
def _with_batches(
    total: RunningSums, features: tuple[Any, ...], labels: tuple[Any, ...]
) -> RunningSums:
    """Sums with several batches, [..., p] and [...]."""
    flat = [jnp.asarray(part, jnp.float32).reshape(-1, part.shape[-1]) for part in features]
    rows = jnp.concatenate(flat)
    own = jnp.concatenate([jnp.asarray(part, jnp.int32).reshape(-1) for part in labels])
    # One row per class: a product with it sums over the samples of the class.
    own_class = jnp.arange(len(total.counts), dtype=jnp.int32)[:, None] == own
    member = jnp.asarray(own_class, jnp.float32)
    with jax.default_matmul_precision("highest"):
        known = jnp.any(own_class, axis=0)[:, None]
        centred = jnp.where(known, rows - member.T @ total.centres, 0)
        return RunningSums(
            total.centres,
            total.counts + jnp.sum(own_class, axis=1, dtype=jnp.int32),
            total.sums + member @ centred,
            total.squares + member @ jnp.linalg.vecdot(centred, centred),
        )
