"""Whether a trained network's last layer has converged, and its state.

All numbers are taken over the whole training set, each image as often as an epoch contains
it, with the running statistics of batch normalisation, as in evaluation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nc_jax.losses import Loss, at_classes

# A run has converged if the residual of the classifiers' stationarity is at most this.
AT_REST = 0.2
# Training accuracy of the large classes below which a run has not fitted its data.
FITTED = 0.9
# Training accuracy of a small class below which it counts as not learnt.
UNLEARNT = 0.5
# From this mean cosine of the small classes' classifiers on they count as one.
COLLAPSED = 0.95

STATES = ("separated", "collapsed", "unlearnt", "broken")


class Rest(NamedTuple):
    """How far a last layer is from a stationary point.

    Attributes:
        loss: mean over an epoch's samples, with the factors of the classes, without weight decay.
        stationarity: ‖λW + ∂L/∂W‖/‖λW‖.
        balance: N‖W‖²/Σ‖h_i‖² over an epoch's N samples; it is 1/c if the penalty
            of every feature is λ/(cN).
    """

    loss: float
    stationarity: float
    balance: float


def measure_rest(
    loss: Loss,
    weight_decay: float,
    features: np.ndarray,
    labels: np.ndarray,
    classifiers: np.ndarray,
    bias: np.ndarray | None,
    repeats: np.ndarray | None = None,
    class_weights: np.ndarray | None = None,
) -> Rest:
    """The stationarity of a last layer.

    Args:
        loss: a loss of logits and label.
        weight_decay: λ; the stationarity is infinite for zero.
        features: [N, p].
        labels: [N].
        classifiers: W [K, p].
        bias: [K], or None.
        repeats: [N] how often each sample occurs in an epoch; once by default.
        class_weights: [K] factors of the loss; a step divides by their sum over its
            samples. Ones by default.
    """
    times = np.ones(len(labels)) if repeats is None else np.asarray(repeats, float)
    factors = times if class_weights is None else times * np.asarray(class_weights)[labels]
    shares = jnp.asarray(factors / factors.sum(), jnp.float32)
    # The program is the same for any equal classes.
    loss = at_classes(loss, np.arange(len(classifiers)))
    h, kernel = jnp.asarray(features, jnp.float32), jnp.asarray(classifiers, jnp.float32)
    offset = jnp.asarray(np.zeros(len(kernel)) if bias is None else bias, jnp.float32)
    value, slope = _loss_and_slope(loss, kernel, offset, h, jnp.asarray(labels), shares)
    force = np.asarray(slope, float) + weight_decay * np.asarray(kernel, float)
    weight = float(np.linalg.norm(np.asarray(kernel, float)))
    squares = float(np.sum(times[:, None] * np.asarray(features, float) ** 2))
    scale = weight_decay * weight
    return Rest(
        float(value),
        float(np.linalg.norm(force)) / scale if scale > 0 else float("inf"),
        float(times.sum()) * weight**2 / squares if squares > 0 else float("inf"),
    )


@jax.jit
def _loss_and_slope(
    loss: Loss, kernel: Array, offset: Array, h: Array, labels: Array, shares: Array
) -> tuple[Array, Array]:
    def mean(kernel: Array) -> Array:
        logits = jnp.matmul(h, kernel.T, precision="highest") + offset
        return jnp.sum(shares * loss(logits, labels).astype(shares.dtype))

    return jax.value_and_grad(mean)(kernel)


def state_of(row: Any) -> str:
    """The state of a run.

    Args:
        row: with ``status`` and ``loss``, ``train_accuracy_majority``,
            ``least_minority_accuracy`` (of the small class with the lowest accuracy on the
            training samples) and ``minority_cosine`` (mean over the pairs of small
            classes' classifiers); NaN for values that do not exist.

    Returns:
        'broken' for a run that broke down or did not fit the large classes (accuracy
        below 0.9); 'unlearnt' if most training samples of a small class are classified as
        another class (usually this holds for all samples of all small classes);
        'collapsed' if the classifiers of the small classes coincide (mean cosine of at
        least 0.95); 'separated' otherwise.
    """
    fitted = row["train_accuracy_majority"] >= FITTED
    if row["status"] != "trained" or not np.isfinite(row["loss"]) or not fitted:
        return "broken"
    if row["least_minority_accuracy"] < UNLEARNT:
        return "unlearnt"
    return "collapsed" if row["minority_cosine"] >= COLLAPSED else "separated"


def has_converged(row: Any) -> bool:
    """Whether a run has converged: not broken, and ``stationarity`` at most 0.2.

    The gradient at the running statistics differs from the gradient during training with
    batches: at an exact stationary point, training with a single full batch gives 0.01 to 0.1,
    and batches of 100 images give 0.15 to 0.2; runs whose rate was lowered too early, or whose
    steps are too large for their weight decay, stay between 0.3 and 1.
    """
    return state_of(row) != "broken" and bool(row["stationarity"] <= AT_REST)
