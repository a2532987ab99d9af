"""Every loss with every model: solved with a certificate or a residual, or clearly refused."""

import jax.numpy as jnp
import numpy as np
import pytest

import nc_jax as nc

SIZES = nc.class_sizes([12.0, 4.0, 4.0])
LOSSES = {
    "cross-entropy": nc.CrossEntropy(),
    "mean-squared-error": nc.MeanSquaredError(),
    "centred-squared-error": nc.CentredSquaredError(),
    "power-softmax": nc.PowerSoftmax(2.0),
    "softmax-based": nc.SoftmaxBased(lambda s: -jnp.log(s), lambda s: s**2),
    "contrastive": nc.SupervisedContrastive(1.0),
    "vector-scaling": nc.VectorScaling([0.0, -0.5, -0.5], [1.0, 0.8, 0.8]),
    "margins": nc.size_margins(SIZES, 0.4),
    "smoothing": nc.LabelSmoothing(0.1),
    "focal": nc.Focal(1.0),
    "weights": nc.ClassWeights(nc.size_weights(SIZES, 0.5)),
    "soft-targets": nc.SoftTargets(np.full((3, 3), 0.1) + 0.7 * np.eye(3)),
}
FACTORED = nc.FactoredMultiStart(restarts=2, max_iterations=300, slots=2)


def multilayer(loss):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 4)
    return nc.MultilayerUnconstrainedFeatures(
        rng.normal(size=(12, 4)), labels, 0.01, 0.01, loss=loss
    )


MODELS = {
    "layer-peeled": (lambda loss: nc.LayerPeeled(SIZES, 1.5, 1.5, loss=loss), None),
    "unconstrained": (lambda loss: nc.UnconstrainedFeatures(SIZES, 0.02, 0.02, loss=loss), None),
    "with-bias": (
        lambda loss: nc.UnconstrainedFeatures(SIZES, 0.02, 0.02, 0.02, loss=loss),
        None,
    ),
    "nonnegative": (
        lambda loss: nc.UnconstrainedFeatures(SIZES, 0.02, 0.02, loss=loss, nonnegative=True),
        FACTORED,
    ),
    "deep-layer-peeled": (lambda loss: nc.DeepLayerPeeled(SIZES, 2, 1.5, 1.5, loss), FACTORED),
    "deep-unconstrained": (
        lambda loss: nc.DeepUnconstrainedFeatures(SIZES, 2, 0.005, 0.005, loss=loss),
        FACTORED,
    ),
    "multilayer": (multilayer, None),
}
# What cannot be: a loss on features has no classifier, soft targets no labels to be deep about.
REFUSED = {
    ("contrastive", "nonnegative"),
    ("contrastive", "deep-layer-peeled"),
    ("contrastive", "deep-unconstrained"),
    ("contrastive", "multilayer"),
    ("soft-targets", "deep-layer-peeled"),
    ("soft-targets", "deep-unconstrained"),
    ("soft-targets", "multilayer"),
}
# Convex in the logits, so that the answer must carry a gap.
CERTIFIED = ("layer-peeled", "unconstrained", "with-bias", "nonnegative")


@pytest.mark.parametrize("model_name", MODELS)
@pytest.mark.parametrize("loss_name", LOSSES)
def test_solved_with_its_evidence_or_refused(loss_name, model_name):
    make, solver = MODELS[model_name]
    loss = LOSSES[loss_name]
    if (loss_name, model_name) in REFUSED:
        with pytest.raises((TypeError, ValueError), match=r"loss|nonnegative"):
            make(loss)
        return
    solution = nc.solve(make(loss), solver)
    assert jnp.isfinite(solution.objective)
    if loss.convex and model_name in CERTIFIED:
        assert solution.gap <= (1e-3 if model_name == "nonnegative" else 1e-8)
    elif not (hasattr(solution, "gap") and jnp.isfinite(solution.gap)):
        assert solution.residual <= 1e-2 * (jnp.abs(solution.objective) + 1)
