"""Predictions by class sizes and weight decay alone, for features of anyone's network."""

import numpy as np
import pytest

import nc_jax as nc
from nc_jax.diagnosis import predict_settled
from nc_jax.networks import NETWORKS
from nc_jax.prediction import penalties_of
from tests.running import run_study


def test_it_is_the_surrogate_of_a_network():
    counts = np.array([40, 40, 40, 4, 4])
    told = predict_settled(counts, 0.02)
    penalties = penalties_of(NETWORKS["vgg11"].head, 0.02, counts.sum())
    known = nc.solve(nc.UnconstrainedFeatures(counts.astype(float), *penalties, nonnegative=True))
    np.testing.assert_allclose(told.cosines, nc.cosines(known.classifier_gram), atol=1e-5)
    assert told.gap < 1e-9 and told.phase == "separated" and told.nonnegative
    # Classes in another order have the same angles in that order.
    order = np.array([3, 0, 4, 1, 2])
    turned = predict_settled(counts[order], 0.02)
    np.testing.assert_allclose(turned.cosines, told.cosines[np.ix_(order, order)], atol=1e-4)


def test_many_classes_and_features_of_any_sign():
    free = predict_settled(np.array([40, 40, 4, 4]), 0.02, nonnegative=False)
    assert not free.nonnegative and free.gap < 1e-8
    many = predict_settled(np.repeat([50, 5], 30), 0.001)
    assert not many.nonnegative and many.gap < 1e-8


@pytest.mark.parametrize(
    ("options", "text"),
    [({"weight_decay": 0}, "weight_decay"), ({"branches": 0}, "branches")],
)
def test_bad_arguments_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        predict_settled(np.array([5, 5]), **{"weight_decay": 0.1} | options)


def test_diagnose_predicts_by_weight_decay(tmp_path):
    rng = np.random.default_rng(0)
    counts = [30, 30, 6, 6]
    labels = np.repeat(np.arange(4), counts)
    features = np.maximum(np.eye(4, 8)[labels] + 0.1 * rng.normal(size=(72, 8)), 0)
    path = tmp_path / "features.npz"
    np.savez(path, features=features, labels=labels, classifiers=np.eye(4, 8), bias=np.zeros(4))
    out = tmp_path / "out"
    done = run_study("diagnose", path, "--weight-decay", 0.01, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "From class sizes and weight decay alone (nonnegative features" in " ".join(
        done.stdout.split()
    )
    assert (out / "diagnosis.png").stat().st_size > 10_000
    failed = run_study("diagnose", path, "--weight-decay", 0, "--out", out)
    assert failed.returncode == 2 and "--weight-decay" in failed.stderr
