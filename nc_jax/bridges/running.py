"""Class means and variances of features that arrive batch by batch, on their own device.

Only the first batch is copied to the host, where its mean becomes the centre of the sums;
after it nothing waits for the device. Sums are taken about a fixed centre of each class, so
that no large squares are subtracted: the relative error of a variance v is about that of
float32 times 1 + ‖m − c‖²/v for a class mean m and a centre c. At the end of an epoch its
class means become the centres of the next.
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
# Batches of PyTorch that are summed before their sum is added to the total: adding millions
# of rows to one float32 number would lose its last digits.
PARTIAL = 64


class RunningSums(NamedTuple):
    """Sums over all samples x so far, relative to centres c_k.

    Attributes:
        centres: c_k [K, p].
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
    centres, counts, sums, squares = (on_host(part).astype(np.float64) for part in total)
    seen = counts.copy()
    seen[seen == 0] = np.nan
    apart = sums / seen[:, None]
    lengths = np.einsum("kp,kp->k", apart, apart)
    return counts, np.add(centres, apart, centres), np.maximum(squares / seen - lengths, 0)


class Accumulator(Protocol):
    """Running sums over the batches of an epoch."""

    def start(self, centres: np.ndarray) -> None:
        """Begins anew, with sums about centres [K, p]."""
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
    found = TorchSums(features.device, shape) if hasattr(features, "detach") else ArraySums()
    found.start(np.broadcast_to(centre, shape))
    return found


class TorchSums:
    """Sums over PyTorch tensors, by six small operations a batch, which autocast leaves alone.

    In a fast training step, starting an operation takes as long as running it. The distances
    from the centres are therefore kept and summed once for several batches.
    """

    def __init__(self, device: Any, shape: tuple[int, int]):
        """On a device and for centres [K, p]; :meth:`start` comes first."""
        self._torch, (classes, width) = sys.modules["torch"], shape
        place = functools.partial(self._torch.tensor, device=device)
        # The first and the last row take the samples whose label is too small or too large.
        self._empty = RunningSums(*map(place, no_sums(np.zeros((classes + 2, width)))))

    def start(self, centres: np.ndarray) -> None:
        """Begins anew, with sums about centres [K, p]."""
        self._empty.centres[1:-1] = self._torch.from_numpy(centres.astype(np.float32))
        self._sums = self._torch.zeros_like(self._empty.sums)
        self._total: tuple[Any, ...] | None = None
        self._kept: list[tuple[Any, Any]] = []

    def add(self, features: Any, labels: Any) -> None:
        """Adds a batch, [..., p] and [...]; rows with a label of no class are left out."""
        torch, centres = self._torch, self._empty.centres
        # Each of these conversions takes microseconds, also if it changes nothing.
        rows = features.detach() if features.requires_grad else features
        rows = rows if rows.ndim == 2 else rows.reshape(-1, rows.shape[-1])
        if getattr(labels, "dtype", None) != torch.int64 or labels.device != centres.device:
            labels = torch.as_tensor(labels, device=centres.device).long()
        labels = labels if labels.ndim == 1 else labels.reshape(-1)
        own = labels.clamp(-1, len(centres) - 2).add_(1)
        apart = centres.index_select(0, own).sub_(rows)
        self._sums.index_add_(0, own, apart, alpha=-1)
        self._kept.append((own, torch.linalg.vector_norm(apart, dim=1)))
        if len(self._kept) == PARTIAL:
            self._carry()

    def total(self) -> RunningSums:
        """The sums over all batches."""
        if self._kept:
            self._carry()
        total = self._total or self._empty[1:]
        return RunningSums(*(part[1:-1] for part in (self._empty.centres, *total)))

    def _carry(self) -> None:
        """Adds the sums of the last batches to the total."""
        own, lengths = map(self._torch.cat, zip(*self._kept, strict=True))
        ones = self._torch.ones_like(own, dtype=self._empty.counts.dtype)
        counts = self._empty.counts.index_add(0, own, ones)
        parts = counts, self._sums, self._empty.squares.index_add(0, own, lengths.square_())
        if self._total is None:
            self._total = parts
        else:
            self._total = tuple(map(self._torch.add, self._total, parts))
        self._sums, self._kept = self._torch.zeros_like(self._sums), []


class ArraySums:
    """Sums over JAX or NumPy arrays; several batches are held and summed by one program.

    On a CPU, JAX switches threads for every program that uses the output of a training step.
    That can take longer than the sums of one batch.
    """

    def start(self, centres: np.ndarray) -> None:
        """Begins anew, with sums about centres [K, p]."""
        self._held: list[tuple[Any, Any]] = []
        self._sums = no_sums(centres)

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
