"""Deep unconstrained features beside their closed forms."""

import numpy as np
import pytest

import nc_jax as nc

SIZES = np.array([60.0, 60.0, 25.0])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_linear_layers_reach_the_closed_form(layers):
    decay, features = 0.01, 0.01 / SIZES.sum()
    known = nc.theory.deep_linear_optimum(SIZES, layers, decay, features)
    squared = nc.MeanSquaredError()
    found = nc.solve(
        nc.DeepUnconstrainedFeatures(
            SIZES, layers, decay, features, loss=squared, activation="identity"
        )
    )
    assert np.asarray(known.learned).all()
    np.testing.assert_allclose(found.objective, known.objective, rtol=1e-8)
    if layers == 1:
        assert found.gap < 1e-9
    else:
        assert found.status == nc.Status.STATIONARY and np.isinf(found.gap)


def test_one_layer_is_the_unconstrained_features_model():
    penalties = 0.01, 1e-4, 0.01
    deep = nc.solve(nc.DeepUnconstrainedFeatures(SIZES, 1, *penalties, nonnegative=True))
    one = nc.solve(nc.UnconstrainedFeatures(SIZES, *penalties, nonnegative=True))
    assert max(deep.gap, one.gap) < 1e-9
    np.testing.assert_allclose(deep.objective, one.objective, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"lambda_w": 0.0}, "lambda_w"),
        ({"lambda_h": -1.0}, "lambda_h"),
        ({"lambda_b": -1.0}, "lambda_b"),
        ({"num_layers": 0}, "num_layers"),
        ({"activation": "tanh"}, "activation"),
        ({"widths": (3, 3, 3)}, "widths"),
    ],
)
def test_bad_arguments_are_named(options, name):
    given = {"num_layers": 2, "lambda_w": 0.1, "lambda_h": 0.1} | options
    with pytest.raises(ValueError, match=name):
        nc.DeepUnconstrainedFeatures(SIZES, **given)
