"""Metrics against straightforward NumPy formulas, on frames, noise and permuted labels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nc_jax as nc
from nc_jax.metrics import neural_collapse as measures

seeds = st.integers(0, 10**6)


def network(seed, classes=5, width=8, samples=60, spread=0.5, offset=0.0):
    """Noisy features around random centres; every class at least twice."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes)] * 2 + [rng.integers(0, classes, samples)])
    centres = rng.normal(size=(classes, width))
    features = centres[labels] + spread * rng.normal(size=(len(labels), width)) + offset
    classifiers = centres + 0.3 * rng.normal(size=centres.shape)
    return features, labels, classifiers, rng.normal(size=classes)


def direct(features, labels, classifiers, bias, weighting):
    """Every measure from its definition, with p×p matrices and loops."""
    size = len(classifiers)
    means = np.stack([features[labels == k].mean(0) for k in range(size)])
    centre = means.mean(0) if weighting == "class" else features.mean(0)
    covariances, variances = [], []
    for k in range(size):
        centred = features[labels == k] - means[k]
        covariances.append(centred.T @ centred / len(centred))
        variances.append(np.mean(np.sum(centred**2, 1)))
    shares = [1 / size if weighting == "class" else np.mean(labels == k) for k in range(size)]
    within = sum(s * c for s, c in zip(shares, covariances, strict=True))
    m = means - centre
    between = m.T @ m / size
    values, vectors = np.linalg.eigh(between)
    rank = min(size - 1, np.sum(values > 1e-12 * values.max()))
    keep = np.argsort(values)[::-1][:rank]
    inverse = (vectors[:, keep] / values[keep]) @ vectors[:, keep].T
    separation = np.trace(within @ inverse)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    cdnv = np.mean(
        [(variances[i] + variances[j]) / (2 * np.sum((means[i] - means[j]) ** 2)) for i, j in pairs]
    )
    target = (np.eye(size) - 1 / size) / np.sqrt(size - 1)
    norms = np.linalg.norm(m, axis=1)
    cosines = [m[i] @ m[j] / norms[i] / norms[j] for i, j in pairs]
    w = classifiers - classifiers.mean(0)
    distances = np.linalg.norm(features[:, None] - means, axis=2)
    decided = np.argmax(features @ classifiers.T + bias, axis=1)
    fro = np.linalg.norm
    return {
        "nc1_pinv": separation / size,
        "nc1_quotient": np.trace(within) / np.trace(between),
        "nc1_cdnv": cdnv,
        "separation": separation,
        "nc2_etf": fro(m @ m.T / fro(m @ m.T) - target),
        "nc2_equinorm": norms.std() / norms.mean(),
        "nc2_equiangularity": np.mean(np.abs(np.add(cosines, 1 / (size - 1)))),
        "nc2_etf_classifiers": fro(w @ w.T / fro(w @ w.T) - target),
        "nc3_product": fro(classifiers @ m.T / fro(classifiers @ m.T) - target),
        "nc3_difference": fro(classifiers / fro(classifiers) - m / fro(m)),
        "nc4": np.mean(decided != np.argmin(distances, axis=1)),
    }


@pytest.mark.parametrize("weighting", ["class", "sample"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-4)])
@pytest.mark.parametrize(("classes", "width"), [(5, 8), (6, 3)])
@settings(max_examples=8)
@given(seed=seeds, offset=st.sampled_from([0.0, 30.0]))
def test_equal_the_direct_formulas(classes, width, dtype, tolerance, weighting, seed, offset):
    features, labels, classifiers, bias = network(seed, classes, width, offset=offset)
    rounded = [x.astype(dtype) for x in (features, classifiers, bias)]
    found = nc.metrics.collapse_metrics(
        nc.metrics.NetworkLayer(rounded[0], labels, rounded[1], rounded[2]), weighting
    )
    exact = direct(
        *(x.astype(float) for x in (rounded[0],)),
        labels,
        *(x.astype(float) for x in rounded[1:]),
        weighting,
    )
    chex.assert_type(list(found), dtype)
    for name, value in found._asdict().items():
        # An argmax may turn on a rounding error of single precision.
        slack = 2 / len(labels) if name == "nc4" and dtype == np.float32 else 0
        np.testing.assert_allclose(
            value, exact[name], rtol=tolerance, atol=tolerance + slack, err_msg=name
        )


@settings(max_examples=8)
@given(seed=seeds, cut=st.integers(1, 40))
def test_streaming_gives_the_same_moments(seed, cut):
    features, labels, _, _ = network(seed)
    whole = nc.metrics.class_moments(features, labels, 5)
    parts = np.split(np.arange(len(labels)), [cut, 50])
    streamed = nc.metrics.stream_class_moments(
        lambda: ((features[part], labels[part]) for part in parts), 5
    )
    chex.assert_trees_all_close(whole, streamed, rtol=1e-12, atol=1e-12)
    jitted = jax.jit(nc.metrics.class_moments, static_argnums=(2, 3))(
        jnp.asarray(features), jnp.asarray(labels), 5, "class"
    )
    chex.assert_trees_all_close(whole, jitted, rtol=1e-12, atol=1e-12)


def test_more_rows_than_a_slice_and_a_large_common_offset():
    features, labels, classifiers, bias = network(0, samples=20_011, offset=1e3)
    found = nc.metrics.collapse_metrics(
        nc.metrics.NetworkLayer(features, labels, classifiers, bias), "sample"
    )
    exact = direct(features, labels, classifiers, bias, "sample")
    for name, value in found._asdict().items():
        np.testing.assert_allclose(value, exact[name], rtol=1e-9, atol=1e-9, err_msg=name)
    single = nc.metrics.class_moments(features.astype(np.float32), labels, 5)
    double = nc.metrics.class_moments(features.astype(np.float32).astype(float), labels, 5)
    np.testing.assert_allclose(single.scatter, double.scatter, rtol=1e-4, atol=1e-5)


@settings(max_examples=6)
@given(
    shape=st.sampled_from([(2, 0), (2, 3), (5, 0), (9, 2)]),
    scale=st.floats(0.1, 10),
)
def test_an_exact_frame_is_collapsed(shape, scale):
    classes, extra = shape
    frame = scale * np.asarray(nc.simplex_etf(classes, classes + extra, float))
    labels = np.repeat(np.arange(classes), 3)
    found = nc.metrics.collapse_metrics(nc.metrics.NetworkLayer(frame[labels], labels, 2 * frame))
    np.testing.assert_allclose(np.asarray(list(found)), 0, atol=1e-7)


@settings(max_examples=10)
@given(seed=seeds)
def test_permuted_labels_and_noise_are_far_from_collapse(seed):
    features, labels, _, _ = network(seed, samples=400, spread=0.05)
    # The nearest-centre rule itself, as a linear classifier.
    centres = np.stack([features[labels == k].mean(0) for k in range(5)])
    bias = -0.5 * np.sum(centres**2, axis=1)
    layer = nc.metrics.NetworkLayer(features, labels, centres, bias)
    good = nc.metrics.collapse_metrics(layer)
    shuffled = np.random.default_rng(seed).permutation(labels)
    bad = nc.metrics.collapse_metrics(layer._replace(labels=shuffled))
    for name in ("nc1_pinv", "nc1_quotient", "nc1_cdnv", "separation"):
        assert getattr(bad, name) > 20 * getattr(good, name)
    assert bad.nc4 > 0
    assert good.nc4 == 0


@settings(max_examples=10)
@given(seed=seeds)
def test_rotation_scaling_and_relabelling_change_nothing(seed):
    features, labels, classifiers, bias = network(seed)
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    names = rng.permutation(5)
    inverse = np.argsort(names)
    base = nc.metrics.collapse_metrics(nc.metrics.NetworkLayer(features, labels, classifiers, bias))
    moved = nc.metrics.collapse_metrics(
        nc.metrics.NetworkLayer(
            features @ rotation, names[labels], (classifiers @ rotation)[inverse], bias[inverse]
        )
    )
    chex.assert_trees_all_close(base, moved, rtol=1e-9, atol=1e-9)
    larger = nc.metrics.collapse_metrics(nc.metrics.NetworkLayer(7 * features, labels, classifiers))
    plain = nc.metrics.collapse_metrics(nc.metrics.NetworkLayer(features, labels, classifiers))
    chex.assert_trees_all_close(plain, larger, rtol=1e-9, atol=1e-9)


def test_a_solution_is_measured_like_a_network():
    balanced = nc.solve(nc.LayerPeeled([3.0] * 4, feature_energy=5.0))
    found = nc.metrics.collapse_metrics(balanced)
    np.testing.assert_allclose(np.asarray(list(found)), 0, atol=1e-7)
    collapsed = nc.solve(nc.LayerPeeled(nc.two_groups(3, 2, 1e4), feature_energy=3.0))
    minority = nc.metrics.minority_metrics(collapsed.classifiers, [3, 4])
    np.testing.assert_allclose(minority.cosine, 1, atol=1e-9)
    np.testing.assert_allclose([minority.norm_variation, minority.distance], 0, atol=1e-9)


def test_minority_measures_against_loops():
    rng = np.random.default_rng(0)
    w = rng.normal(size=(6, 4))
    found = nc.metrics.minority_metrics(w, [1, 3, 4])
    norms = np.linalg.norm(w, axis=1)
    cosines = [w[i] @ w[j] / norms[i] / norms[j] for i, j in [(1, 3), (1, 4), (3, 4)]]
    np.testing.assert_allclose(found.cosine, np.mean(cosines), rtol=1e-12)
    chosen = norms[[1, 3, 4]]
    np.testing.assert_allclose(found.norm_variation, chosen.std() / chosen.mean(), rtol=1e-12)
    farthest = max(np.linalg.norm(w[i] - w[j]) for i, j in [(1, 3), (1, 4), (3, 4)])
    np.testing.assert_allclose(found.distance, farthest / norms.max(), rtol=1e-12)


def test_degenerate_layers_give_infinity_or_nan_not_numbers():
    features, labels = np.ones((6, 3)), np.repeat(np.arange(3), 2)
    moments = nc.metrics.class_moments(features, labels, 3)
    assert np.isinf(measures.within_between_quotient(moments))
    assert np.isinf(measures.separation(moments))
    assert np.isnan(measures.etf_distance(measures.centred_means(moments)))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"features": np.ones((4, 3))}, "labels"),
        ({"features": np.ones(6)}, "features"),
        ({"features": np.full((6, 3), np.nan)}, "features"),
        ({"labels": np.array([0, 0, 1, 1, 2, 3])}, "labels"),
        ({"labels": np.array([0, 0, 1, 1, 1, 1])}, "labels"),
        ({"labels": np.zeros(6)}, "labels"),
        ({"classifiers": np.ones((3, 4))}, "classifiers"),
        ({"weighting": "both"}, "weighting"),
    ],
)
def test_bad_input_names_the_argument(change, name):
    rng = np.random.default_rng(0)
    good = {
        "features": rng.normal(size=(6, 3)),
        "labels": np.array([0, 0, 1, 1, 2, 2]),
        "classifiers": rng.normal(size=(3, 3)),
        "weighting": "class",
    } | change
    with pytest.raises(ValueError, match=name):
        nc.metrics.collapse_metrics(
            nc.metrics.NetworkLayer(good["features"], good["labels"], good["classifiers"]),
            good["weighting"],
        )
    with pytest.raises(ValueError, match="members"):
        nc.metrics.minority_metrics(good["classifiers"], [7])
