"""Diagnosis: archives read right or refused, numbers those of the metrics, R0 that of theory."""

import numpy as np
import pandas as pd
import pytest

import nc_jax as nc
from nc_jax.diagnosis import (
    FeatureArchive,
    clusters,
    diagnose,
    measure_archive,
    predict_collapse,
    predicted,
    recommend_cures,
)
from tests.running import run_study

# Budgets E at which the loss is linear in the logits up to a relative error of E.
TINY = (2e-3, 1e-4, 1e-10, 1e-14)


def network(seed=0, counts=(30, 20, 10, 1), width=6):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    order = rng.permutation(len(labels))
    means = rng.normal(size=(len(counts), width))
    features = means[labels] + 0.1 * rng.normal(size=(len(labels), width))
    arrays = {"features": features.astype(np.float32)[order], "labels": labels[order]}
    return arrays | {"classifiers": means.astype(np.float32), "bias": np.zeros(len(counts))}


def saved(tmp_path, arrays, save=np.savez):
    path = tmp_path / "features.npz"
    save(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_measures_are_those_of_the_metrics(tmp_path, monkeypatch, save):
    # Rows come in many parts.
    monkeypatch.setattr("nc_jax.diagnosis.archive.BATCH", 300)
    arrays = network()
    seen = measure_archive(FeatureArchive(saved(tmp_path, arrays, save)))
    features, labels = arrays["features"], arrays["labels"]
    layer = nc.metrics.NetworkLayer(features, labels, arrays["classifiers"])
    known = nc.metrics.collapse_metrics(layer)._asdict()
    for name, value in seen.collapse.items():
        np.testing.assert_allclose(value, known[name], rtol=1e-4, atol=1e-6, err_msg=name)
    assert seen.counts.tolist() == [30, 20, 10, 1]
    centre = np.mean([features[labels == k].mean(0) for k in range(4)], axis=0)
    squares = np.sum((features - centre) ** 2, axis=1)
    energy = np.mean([squares[labels == k].mean() for k in range(4)])
    np.testing.assert_allclose(seen.feature_energy, energy, rtol=1e-5)
    weight = np.mean(np.sum(arrays["classifiers"] ** 2, axis=1))
    np.testing.assert_allclose(seen.weight_energy, weight, rtol=1e-6)
    logits = features @ arrays["classifiers"].T
    right = [np.mean(np.argmax(logits[labels == k], 1) == k) for k in range(4)]
    np.testing.assert_allclose(seen.accuracy, right)


def test_labels_of_any_start_and_any_number_type(tmp_path):
    arrays = network()
    plain = measure_archive(FeatureArchive(saved(tmp_path, arrays)))
    arrays["labels"] = np.array([-3, 5, 6, 40])[arrays["labels"]].astype(np.float64)
    arrays["features"] = arrays["features"].astype(np.float64)
    arrays["weight"] = arrays.pop("classifiers")
    archive = FeatureArchive(saved(tmp_path, arrays))
    assert archive.names.tolist() == [-3, 5, 6, 40]
    other = measure_archive(archive)
    np.testing.assert_allclose(list(other.collapse.values()), list(plain.collapse.values()))


def test_without_classifiers_the_means_are_looked_at(tmp_path):
    arrays = network()
    seen = measure_archive(
        FeatureArchive(saved(tmp_path, {name: arrays[name] for name in ("features", "labels")}))
    )
    assert np.isnan(seen.weight_energy) and np.isnan(seen.collapse["nc3_product"])
    assert (seen.accuracy == 1).all() and seen.collapse["nc1_quotient"] < 0.1


def test_a_classifier_of_zero_is_reported(tmp_path):
    arrays = network()
    arrays["classifiers"][3] = 0
    done = run_study("diagnose", saved(tmp_path, arrays), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.md").read_text()
    assert "Vanished: the last-layer weight vectors of class 3" in text and "inf |" not in text


def _changed(**changes):
    arrays = network() | changes
    return {name: value for name, value in arrays.items() if value is not None}


def _with_nan():
    features = network()["features"]
    features[17, 2] = np.nan
    return features


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        (_changed(features=None), "no array 'features'"),
        (_changed(labels=None), "no array 'labels'"),
        (_changed(features=_with_nan()), "row 17"),
        (_changed(features=network()["features"][:, 0]), r"features must be numbers \[N, p\]"),
        (_changed(features=np.asfortranarray(network()["features"])), "by rows"),
        (_changed(features=np.array([None] * 61)), "pickled"),
        (_changed(labels=np.zeros(61, int)), "at least two classes"),
        (_changed(labels=np.zeros(60, int)), "labels must be 61 integers"),
        (_changed(labels=np.linspace(0, 3, 61)), "whole numbers"),
        (_changed(classifiers=np.ones((3, 6))), "classifiers must be numbers of shape"),
        (_changed(classifiers=np.full((4, 6), np.inf)), "classifiers must be finite"),
    ],
)
def test_bad_archives_are_named(tmp_path, arrays, named):
    with pytest.raises(ValueError, match=named):
        measure_archive(FeatureArchive(saved(tmp_path, arrays)))


def test_missing_truncated_and_altered_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        FeatureArchive(tmp_path / "none.npz")
    path = saved(tmp_path, network())
    raw = path.read_bytes()
    path.write_bytes(raw[:-200])
    with pytest.raises(ValueError, match="not a whole"):
        FeatureArchive(path)
    place = raw.index(network()["features"].tobytes()) + 40
    path.write_bytes(raw[:place] + bytes([raw[place] ^ 255]) + raw[place + 1 :])
    with pytest.raises(ValueError, match="damaged"):
        measure_archive(FeatureArchive(path))


@pytest.mark.parametrize(
    ("majority", "minority", "budget"), [(1, 2, 1.0), (3, 2, 2.2), (2, 4, 2.8)]
)
def test_for_two_groups_r0_is_that_of_theory(majority, minority, budget):
    known = float(nc.theory.collapse_ratio(majority, minority, budget))
    counts = np.array([2 * known * 1000] * majority + [1000] * minority)
    found = predict_collapse(counts, 1.0, budget**2)
    np.testing.assert_allclose(found.collapse_ratio, known, rtol=1e-4)
    assert found.rank == majority and found.merged == [[*range(majority, majority + minority)]]
    np.testing.assert_allclose(found.oversampling[-1], 2, rtol=0.01)
    # The advice, taken, is enough.
    cured = predict_collapse(counts * found.oversampling, 1.0, budget**2)
    assert cured.rank == majority + minority - 1 and not cured.merged


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 0.3, 3.0, 1e6])
def test_r0_follows_the_scale_of_features_and_of_weights(scale):
    counts = np.array([900] * 3 + [60] * 4)
    known = float(nc.theory.collapse_ratio(3, 4, 1.5 * scale))
    for energies in [(1.5 * scale**2, 1.5), (1.5, 1.5 * scale**2)]:
        found = predict_collapse(counts, *energies).collapse_ratio
        if known > 1e12:
            assert found == np.inf
        else:
            np.testing.assert_allclose(np.log(found), np.log(known), rtol=1e-3)


@pytest.mark.parametrize("counts", [[100] * 4 + [50] * 3 + [20] * 3, [100, 80, 60, 20, 10]])
def test_tiny_budgets(counts):
    small, *others = (predict_collapse(np.array(counts), 1.0, budget**2) for budget in TINY)
    for budget, found in zip(TINY[1:], others, strict=True):
        np.testing.assert_allclose(
            np.log(found.collapse_ratio),
            np.log(small.collapse_ratio) * budget / TINY[0],
            2e-3,
            1e-15,
        )
        assert (found.rank, found.merged) == (small.rank, small.merged)
        assert 0 <= found.gap <= 1e-11
        np.testing.assert_allclose(found.cosines, small.cosines, atol=5e-3)
        np.testing.assert_allclose(found.oversampling, small.oversampling, rtol=5e-3)
    # The two strengths at which the loss weighs all classes equally.
    cure = recommend_cures(np.array(counts), 1.0, TINY[-1] ** 2)[0]
    assert (cure.cure, cure.parts) == ("class-weights", True)
    np.testing.assert_allclose((cure.strength, cure.distance), (1, 0), atol=1e-3)


def test_a_network_of_tiny_features_and_weights(tmp_path):
    arrays = network()
    large = diagnose(FeatureArchive(saved(tmp_path, arrays))).model
    for name in ("features", "classifiers"):
        arrays[name] = arrays[name] * np.float32(1e-6)
    seen = measure_archive(FeatureArchive(saved(tmp_path, arrays)))
    small = diagnose(FeatureArchive(tmp_path / "features.npz")).model
    assert np.sqrt(seen.weight_energy * seen.feature_energy) < 1e-10
    assert small is not None and large is not None
    assert 1 < small.collapse_ratio < 1 + 1e-10 < large.collapse_ratio
    assert small.rank < 3 and len(small.merged) == 1


def test_classes_of_many_sizes():
    counts = np.array([300, 1000, 5, 6, 30])
    found = predict_collapse(counts, 1.0, 4.0)
    assert found.rank < 4 and np.isfinite(found.collapse_ratio)
    cured = predict_collapse(counts * found.oversampling, 1.0, 4.0)
    assert cured.rank == 4
    # Order and scale of the classes do not matter.
    turned = predict_collapse(10 * counts[::-1], 1.0, 4.0)
    np.testing.assert_allclose(turned.collapse_ratio, found.collapse_ratio, rtol=1e-6)
    np.testing.assert_allclose(turned.oversampling[::-1], found.oversampling, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_ranks_by_groups_are_those_of_the_matrices(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 5))
    membership = np.concatenate([np.arange(groups), rng.integers(0, groups, 4)])
    sizes = nc.ClassSizes(np.exp(rng.uniform(0, 7, (6, groups))), tuple(membership))
    solution = nc.solve_batch(nc.LayerPeeled(sizes, np.ones(6), np.full(6, 3.0)))
    values = np.linalg.svd(np.asarray(solution.classifiers), compute_uv=False)
    np.testing.assert_array_equal(
        predicted.ranks(solution), np.sum(values > predicted.LOST * values[:, :1], axis=1)
    )


def test_a_thousand_classes():
    counts = np.maximum(1, 500 * 0.994 ** np.arange(1000)).astype(int)
    found = predict_collapse(counts, 1.44, 20.0)
    assert found.rank < 999 and 1 < found.collapse_ratio < found.ratio and found.merged
    assert len(found.path) > 17 and (np.diff(found.path[:, 0]) > 0).all()
    assert found.path[0, 0] == 1 and found.path[-1, 0] > 10 * found.ratio * (1 - 1e-9)


def test_narrow_features_are_taken_with_care(tmp_path):
    arrays = {name: value for name, value in network(width=2).items() if name != "bias"}
    done = run_study("diagnose", saved(tmp_path, arrays), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.md").read_text()
    assert "at least 3 dimensions" in text and "these have 2" in text


def test_balanced_classes_never_merge():
    found = predict_collapse(np.array([50, 51, 50]), 1.0, 1.0)
    assert found.rank == 2 and found.collapse_ratio == np.inf and (found.oversampling == 1).all()
    np.testing.assert_allclose(found.cosines[0, 1], -0.5, atol=1e-6)
    with pytest.raises(ValueError, match="counts must be positive"):
        predict_collapse(np.array([5, 0]), 1.0, 1.0)


def test_clusters_join_what_is_above_the_least():
    angles = np.array([[1, 0.97, 0.2], [0.97, 1, np.nan], [0.2, np.nan, 1]])
    assert clusters(angles, 0.95) == [[0, 1]] and clusters(angles, 0.99) == []


def test_the_report_of_a_collapsed_layer(tmp_path):
    """Features at an optimum of the model itself: seen and predicted are one."""
    sizes = nc.two_groups(2, 3, 40.0)
    solution = nc.solve(nc.LayerPeeled(sizes, weight_energy=1.0, feature_energy=3.0))
    labels = np.repeat(np.arange(5), [80, 80, 2, 2, 2])
    arrays = {
        "features": np.asarray(solution.features)[labels],
        "labels": labels + 1,
        "classifiers": np.asarray(solution.classifiers),
    }
    path, out = saved(tmp_path, arrays), tmp_path / "out"
    done = run_study("diagnose", path, "--out", out, "--class-names", "a,b,c,d,<i>")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "report.md").read_text()
    means = np.asarray(solution.features)
    energy = np.mean(np.sum((means - means.mean(axis=0)) ** 2, axis=1))
    assert f"| E_H | {energy:.5g} |" in text and "| E_W | 1 |" in text
    assert "Merged: the last-layer weight vectors of classes “c”, “d” and “<i>”" in text.replace(
        "\\<i\\>", "<i>"
    )
    assert "merges classes “c”, “d” and" in text and "repeat samples" in text
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "“c”, “d” and “&lt;i&gt;”" in page and "<i>" not in page
    table = pd.read_csv(tmp_path / "out" / "classes.csv")
    assert table["class"].tolist() == ["c", "d", "<i>", "a", "b"]
    assert table["predicted cosine"][:3].tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert (tmp_path / "out" / "diagnosis.png").stat().st_size > 10_000
    wrong = run_study("diagnose", path, "--out", out, "--class-names", "a,b")
    assert wrong.returncode == 2 and "--class-names must give 5 names" in wrong.stderr
    broken = run_study("diagnose", tmp_path / "none.npz", "--out", out)
    assert broken.returncode == 2 and "no file" in broken.stderr
