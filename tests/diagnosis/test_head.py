"""Heads of many rows: measures are those of the dense K×K matrix, clusters those of a graph."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

import nc_jax as nc
from nc_jax import report
from nc_jax.diagnosis import (
    MERGED,
    HeadArchive,
    head_findings,
    measure_head,
    predict_head_at_budgets,
    predict_head_at_decay,
)
from nc_jax.metrics import similar
from tests.running import run_study


def head(seed=0, size=60, width=7):
    """Rows with a cone, a zero and tokens never seen."""
    rng = np.random.default_rng(seed)
    rows = 2 + 3 * rng.normal(size=(size, width))
    rows[5:20] = 0.2 * (rows[5] + 0.3 * rng.normal(size=(15, width)))
    rows[30] = 0
    rows[31] *= 1e-4
    counts = rng.integers(1, 2000, size)
    counts[-4:] = 0
    return {"classifiers": rows, "counts": counts}


def saved(tmp_path, arrays):
    path = tmp_path / "head.npz"
    np.savez(path, **arrays)
    return path


def dense_clusters(cosines, least):
    _, names = connected_components(cosines > least, directed=False)
    return sorted(sorted(np.flatnonzero(names == n)) for n in set(names) if sum(names == n) > 1)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_the_dense_matrix(tmp_path, monkeypatch, seed, centered):
    monkeypatch.setattr(similar, "BLOCK", 13)
    arrays = head(seed)
    archive = HeadArchive(saved(tmp_path, arrays), centered)
    done = []
    seen = measure_head(archive, done.append)
    assert sum(done) == 60
    rows, counts = arrays["classifiers"], arrays["counts"]
    mean = rows.mean(axis=0)
    rows = rows - mean if centered else rows
    lengths = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(seen.lengths, lengths / lengths.max(), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(seen.longest, lengths.max(), rtol=1e-6)
    np.testing.assert_allclose(seen.weight_energy, np.mean(lengths**2), rtol=1e-5)
    np.testing.assert_allclose(seen.seen_energy, np.mean(lengths[counts > 0] ** 2), rtol=1e-5)
    share = np.sum(mean**2) / np.mean(np.sum(arrays["classifiers"] ** 2, axis=1))
    np.testing.assert_allclose(seen.offset_share, share, rtol=1e-5)
    with np.errstate(invalid="ignore", divide="ignore"):
        units = rows / lengths[:, None]
    cosines = np.nan_to_num(units @ units.T, nan=-np.inf)
    np.fill_diagonal(cosines, -np.inf)
    best = cosines.max(axis=1)
    nearest = np.where(np.isfinite(best), best, np.nan)
    np.testing.assert_allclose(seen.nearest, nearest, atol=1e-5)
    few = np.array([3, 17, 30, 31])
    found = similar.nearest_rows(archive.classifiers, few)
    assert found.tolist() == [cosines[k].argmax() if np.isfinite(best[k]) else -1 for k in few]
    assert sorted(sorted(c) for c in seen.clusters) == dense_clusters(cosines, MERGED)
    assert seen.vanished.tolist() == np.flatnonzero(lengths < 0.01 * lengths.max()).tolist()
    bins = seen.bins
    assert bins.least[0] == bins.most[0] == 0 and bins.tokens[0] == 4 and bins.tokens.sum() == 60
    assert (bins.most[:-1] < bins.least[1:]).all()
    merged = np.zeros(60, bool)
    merged[[k for cluster in seen.clusters for k in cluster]] = True
    for place in range(len(bins.tokens)):
        own = np.flatnonzero((counts >= bins.least[place]) & (counts <= bins.most[place]))
        assert len(own) == bins.tokens[place]
        np.testing.assert_allclose(bins.lengths[place], seen.lengths[own].mean(), rtol=1e-5)
        np.testing.assert_allclose(bins.merged[place], merged[own].mean())
        directed = own[lengths[own] > 0]
        pairs = cosines[np.ix_(directed, directed)][~np.eye(len(directed), dtype=bool)]
        expected = pairs.mean() if len(pairs) else np.nan
        np.testing.assert_allclose(bins.cosines[place], expected, atol=1e-5)
        towards = units[directed] @ mean / np.linalg.norm(mean)
        np.testing.assert_allclose(bins.to_mean[place], towards.mean(), atol=1e-5)
        np.testing.assert_allclose(bins.nearest[place], nearest[directed].mean(), atol=1e-5)
        np.testing.assert_allclose(bins.between[place, place], expected, atol=1e-5)
    common, rare = (
        np.flatnonzero((counts >= bins.least[b]) & (counts <= bins.most[b]) & (lengths > 0))
        for b in (-1, 0)
    )
    np.testing.assert_allclose(bins.between[-1, 0], cosines[np.ix_(common, rare)].mean(), atol=1e-5)


@pytest.mark.parametrize("block", [1, 5, 64])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_connected_components(monkeypatch, seed, block):
    monkeypatch.setattr(similar, "BLOCK", block)
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(50, 3))
    cosines = similar.unit_rows(rows).astype(float)
    cosines = cosines @ cosines.T
    np.fill_diagonal(cosines, -1)
    found = similar.similar_rows(rows, 0.9).clusters
    assert sorted(sorted(c) for c in found) == dense_clusters(cosines, 0.9)
    assert [len(c) for c in found] == sorted(map(len, found), reverse=True)


@pytest.mark.parametrize("block", [4, 32])
def test_chains_are_one_cluster_in_any_order(monkeypatch, block):
    """Two half circles of directions, of which only neighbours are close."""
    monkeypatch.setattr(similar, "BLOCK", block)
    angles = np.concatenate([np.linspace(0, 2.5, 21), np.linspace(3.5, 5.8, 19)])
    order = np.random.default_rng(0).permutation(40)
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)[order]
    found = similar.similar_rows(rows, np.cos(0.2)).clusters
    assert [sorted(order[c]) for c in found] == [[*range(21)], [*range(21, 40)]]


def test_all_rows_in_one_cluster_and_rows_of_any_scale():
    rows = np.outer(np.geomspace(1e-30, 1e30, 3000), [1.0, -2.0, 0.5]).astype(np.float32)
    one = similar.similar_rows(rows[1000:2000], 0.95)
    assert [len(c) for c in one.clusters] == [1000]
    np.testing.assert_allclose(one.nearest, 1, atol=1e-6)
    zero = similar.similar_rows(np.zeros((3, 2)), 0.95)
    assert not zero.clusters and np.isnan(zero.nearest).all()


def test_integers_texts_and_weight_are_taken(tmp_path):
    arrays = head()
    arrays["weight"] = np.round(arrays.pop("classifiers")).astype(np.int16)
    names = np.array([f"tok{k}".encode() for k in range(60)])
    archive = HeadArchive(saved(tmp_path, arrays | {"names": names, "bias": np.zeros(60)}))
    assert archive.classifiers.dtype == np.float32 and archive.names[7] == "tok7"
    lines = [one.text for one in head_findings(archive, measure_head(archive))]
    assert any("never occur (count zero): 4." in line for line in lines)
    assert any("'tok30'" in line for line in lines if line.startswith("Vanished"))


def test_a_head_of_zeros_and_names_that_look_like_markup(tmp_path):
    names = np.array(["<s>", "a|b", "[/INST]", "\n"])
    arrays = {"classifiers": np.zeros((4, 2)), "counts": np.array([0, 1, 2, 3]), "names": names}
    archive = HeadArchive(saved(tmp_path, arrays))
    seen = measure_head(archive)
    assert len(seen.vanished) == 4 and not seen.clusters
    page = report.head_page("zeros.npz", archive, seen, None, "")
    tables = report.write_head_diagnosis(tmp_path, archive, seen, None, "", page)
    for title, table in tables.items():
        report.print_table(table, title)
    text = (tmp_path / "report.md").read_text()
    assert r"| 'a\|b' | 1 | 0.000 | none |" in text and r"'\n'" in text
    assert r"'\<s\>'" in text
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<s>" not in page and r'"\u003cs\u003e' not in page and r"'\u003cs\u003e'" in page


def _changed(**changes):
    arrays = head() | changes
    return {name: value for name, value in arrays.items() if value is not None}


def _with(name, value):
    values = head()[name].astype(float)
    values[(3, *[0] * (values.ndim - 1))] = value
    return {name: values}


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        (_changed(classifiers=None), "no array 'classifiers'"),
        (_changed(counts=None), "no array 'counts'"),
        (_changed(classifiers=np.ones(60)), r"classifiers must be numbers \[K, p\]"),
        (_changed(classifiers=np.ones((60, 0))), r"classifiers must be numbers \[K, p\]"),
        (_changed(classifiers=np.array([None] * 60)), "pickled"),
        (_changed(classifiers=np.asfortranarray(head()["classifiers"])), "by rows"),
        (_changed(**_with("classifiers", np.nan)), "classifiers must be finite"),
        (_changed(**_with("classifiers", 1e300)), "classifiers must be finite"),
        (_changed(counts=np.ones(59)), "counts must be 60 numbers"),
        (_changed(counts=np.full(60, "a")), "counts must be 60 numbers"),
        (_changed(**_with("counts", -1)), "counts must be zero or positive"),
        (_changed(**_with("counts", np.inf)), "counts must be zero or positive"),
        (_changed(counts=np.eye(60)[0]), "positive for at least two"),
        (_changed(names=np.ones(60)), "names must be 60 texts or integers"),
        (_changed(names=np.array([{}] * 60)), "pickled"),
        (_changed(bias=np.ones(61)), "bias must be 60 numbers"),
    ],
)
def test_bad_heads_are_named(tmp_path, arrays, named):
    with pytest.raises(ValueError, match=named):
        HeadArchive(saved(tmp_path, arrays))


def test_predictions_are_certified_and_leave_out_what_was_never_seen():
    counts = np.array([1000.0, 0, 3, 3, 3, 3, 1000, 0])
    model = predict_head_at_budgets(counts, 1.0, 4.0)
    assert model.tokens.tolist() == [2, 4] and model.counts.tolist() == [1000, 3]
    np.testing.assert_allclose(model.tokens @ model.lengths**2 / 6, 1, rtol=1e-6)
    assert 0 <= model.gap < 1e-8 and model.cosines[1] > MERGED
    settled = predict_head_at_decay(counts, 1e-4)
    known = nc.solve(nc.UnconstrainedFeatures(counts[counts > 0], 1e-4, 1e-4 / 2012))
    np.testing.assert_allclose(settled.lengths, known.classifier_norms, rtol=1e-6)
    assert 0 <= settled.gap < 1e-8
    with pytest.raises(ValueError, match="weight_decay must be positive"):
        predict_head_at_decay(counts, 0.0)


def test_tiny_budgets_have_the_geometry_of_small_ones():
    """As E → 0 the loss becomes linear: directions stay and lengths follow √E_W."""
    counts = np.repeat([1000, 300, 20, 1], [3, 4, 5, 3])
    small = predict_head_at_budgets(counts, 1.0, 1e-6)
    for weight_energy, feature_energy in [(1.0, 1e-14), (1.0, 1e-20), (1e-12, 1e-16), (4.0, 1e-28)]:
        tiny = predict_head_at_budgets(counts, weight_energy, feature_energy)
        np.testing.assert_allclose(
            tiny.lengths, np.sqrt(weight_energy) * small.lengths, rtol=1e-6, atol=0
        )
        np.testing.assert_allclose(tiny.cosines, small.cosines, atol=1e-6)
        np.testing.assert_allclose(tiny.objective, np.log(15), rtol=1e-6)
        assert 0 <= tiny.gap < 1e-9


def test_the_certificate_of_tiny_budgets_includes_the_grouping():
    """What the loss gains is proportional to E; the cost of grouping does not depend on it."""
    counts = np.append(np.linspace(1000, 1009, 20), np.linspace(10, 10.09, 30))
    small, tiny = (predict_head_at_budgets(counts, 1.0, energy) for energy in (1e-6, 1e-10))
    for model in (small, tiny):
        assert model.tokens.tolist() == [20, 30] and model.alike == 0.01
    np.testing.assert_allclose(
        np.log(50) - tiny.objective, 0.01 * (np.log(50) - small.objective), 1e-3
    )
    assert 1e-4 < small.gap < 1e-3
    np.testing.assert_allclose(tiny.gap, small.gap, rtol=0.02)


def test_the_groups_of_a_vocabulary_stay_few(monkeypatch):
    monkeypatch.setattr("nc_jax.diagnosis.head_predicted.GROUPS", 2)
    counts = np.append(np.linspace(1000, 1200, 20), np.linspace(10, 12, 30))
    model = predict_head_at_budgets(counts, 1.0, 10.0)
    assert model.tokens.tolist() == [20, 30] and 0.2 <= model.alike < 0.3
    # The certificate holds for the counts as they are, at the price of merging.
    assert 0 <= model.gap < 0.05 * model.objective


def test_the_report_of_a_head(tmp_path):
    rng = np.random.default_rng(1)
    counts = np.repeat([3000, 4, 0], [120, 120, 60])
    rows = rng.normal(size=(300, 16))
    rows[120:240] = 0.3 * (rows[120] + 0.05 * rng.normal(size=(120, 16)))
    path, out = saved(tmp_path, {"classifiers": rows, "counts": counts}), tmp_path / "out"
    done = run_study("diagnose", path, "--out", out, "--feature-energy", 4)
    assert done.returncode == 0, done.stderr
    text = (out / "report.md").read_text()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "A cluster of 120 rows" in page and "What theory expects" in page
    assert (
        "A cluster of 120 rows (counts 4 to 4" in text and "never occur (count zero): 60." in text
    )
    assert "certified to" in text and "| mean cosine to the nearest row |" in text
    assert "Rows by frequency" in done.stdout and "certified to" in done.stdout
    assert (out / "diagnosis.png").stat().st_size > 10_000
    done = run_study("diagnose", path, "--out", out)
    assert done.returncode == 0 and "No prediction: a head has no features" in done.stdout
    wrong = run_study("diagnose", path, "--out", out, "--weight-energy", 1)
    assert wrong.returncode == 2 and "--weight-energy" in wrong.stderr
