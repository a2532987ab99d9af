"""Streams: measures of the whole matrix, files that the diagnosis reads, bad input named."""

import gc
import weakref
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nc_jax import bridges, metrics
from nc_jax.bridges import rows as bridge_rows
from nc_jax.diagnosis import FeatureArchive, measure_archive

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat(np.arange(3), [30, 12, 5]))
FEATURES = (np.eye(3, 6)[LABELS] + 2 + 0.1 * RNG.normal(size=(47, 6))).astype(np.float32)
CLASSIFIERS = RNG.normal(size=(3, 6)).astype(np.float32)
BIAS = RNG.normal(size=3).astype(np.float32)


def pairs(features=FEATURES, labels=LABELS, size=10):
    return [
        (features[first : first + size].copy(), labels[first : first + size].copy())
        for first in range(0, len(labels), size)
    ]


def same(inputs):
    return inputs


def stream(loader=None, function=same, **options):
    options = {"classifiers": CLASSIFIERS, "bias": BIAS} | options
    return bridges.from_callable(function, pairs() if loader is None else loader, **options)


def expected():
    layer = metrics.NetworkLayer(FEATURES, LABELS, CLASSIFIERS, BIAS)
    return metrics.collapse_metrics(layer)._asdict()


def assert_as_expected(seen):
    for name, value in expected().items():
        np.testing.assert_allclose(seen.collapse[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert seen.counts.tolist() == [30, 12, 5]


@pytest.mark.parametrize("size", [7, 4096])
def test_measures_are_those_of_the_whole_matrix(monkeypatch, size):
    monkeypatch.setattr("nc_jax.bridges.stream.ROWS", size)
    assert_as_expected(stream().measure())


def test_a_saved_stream_is_an_archive_of_the_diagnosis(tmp_path, monkeypatch):
    monkeypatch.setattr("nc_jax.bridges.stream.ROWS", 7)
    path = tmp_path / "new" / "features.npz"
    stream().save(str(path))
    assert [file.name for file in path.parent.iterdir()] == ["features.npz"]
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["features"], FEATURES)
        np.testing.assert_array_equal(file["labels"], LABELS)
        assert file["features"].dtype == np.float32
    archive = FeatureArchive(path)
    np.testing.assert_array_equal(archive.classifiers, CLASSIFIERS)
    np.testing.assert_array_equal(archive.bias, BIAS)
    assert_as_expected(measure_archive(archive))


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "features.npz"
    path.write_text("old")
    broken = pairs()
    broken[2][0][1] = np.nan
    with pytest.raises(ValueError, match="batch 2: features must be finite"):
        stream(broken).save(path)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match="cannot write"):
        stream().save(path / "below.npz")


def test_a_diagnosis_asks_the_models_at_the_measured_budgets(monkeypatch):
    asked = {}

    def model(name, answer):
        def ask(*given):
            asked[name] = given
            assert jnp.zeros(1).dtype == jnp.float64
            return answer

        monkeypatch.setattr(f"nc_jax.diagnosis.diagnosed.{name}", ask)

    model("predict_collapse", SimpleNamespace(ratio=6.0))
    model("recommend_cures", ["cure"])
    model("predict_settled", "settled")
    with jax.enable_x64(False):
        found = stream().diagnose(weight_decay=1e-3, branches=2)
        assert_as_expected(found.seen)
    energies = found.seen.weight_energy, found.seen.feature_energy
    assert found.cures == ["cure"] and found.settled == "settled"
    assert asked["predict_collapse"][1:] == energies
    assert asked["recommend_cures"][1:] == (*energies, 1e-3, 2)
    # Features of both signs or not; a bias in the last layer.
    assert asked["predict_settled"][1:] == (1e-3, bool(FEATURES.min() >= 0), 2, True)
    for given in asked.values():
        np.testing.assert_array_equal(given[0], [30, 12, 5])
    bare = bridges.from_callable(same, pairs(), num_classes=3).diagnose()
    assert bare.model is bare.settled is None and not bare.cures
    assert np.isnan(bare.seen.weight_energy)


def test_few_batches_are_alive_at_a_time(monkeypatch):
    """Every batch is counted from its making to its end."""
    monkeypatch.setattr("nc_jax.bridges.stream.ROWS", 40)
    alive, most = set(), 0

    class Loader:
        def __iter__(self):
            nonlocal most
            for number in range(200):
                rows = FEATURES[:8].copy()
                alive.add(number)
                weakref.finalize(rows, alive.discard, number)
                most = max(most, len(alive))
                yield rows, np.arange(8) % 3

    parts = [len(labels) for _, labels in stream(Loader()).batches()]
    gc.collect()
    assert parts == [40] * 40
    # 40 rows are five batches; one is being made, one is in use.
    assert most <= 7 and not alive


def test_rows_are_regrouped_in_order():
    batches = [(np.full((n, 2), n, np.float32), np.full(n, n)) for n in (1, 9, 2, 3, 12)]
    parts = list(bridge_rows.regrouped(batches, 5))
    assert [len(labels) for _, labels in parts] == [5, 5, 5, 5, 5, 2]
    whole = np.concatenate([labels for _, labels in parts])
    np.testing.assert_array_equal(whole, np.repeat([1, 9, 2, 3, 12], [1, 9, 2, 3, 12]))
    np.testing.assert_array_equal(np.concatenate([rows for rows, _ in parts])[:, 0], whole)


def test_tokens_are_samples_and_ignored_labels_are_left_out():
    features, labels = FEATURES[:40].reshape(4, 10, 6), LABELS[:40].reshape(4, 10).copy()
    labels[1, 3:] = -100
    found = stream([(features, labels)], ignore_index=-100)
    (part,) = found.batches()
    kept = labels.reshape(-1) >= 0
    np.testing.assert_array_equal(part[0], FEATURES[:40][kept])
    np.testing.assert_array_equal(part[1], LABELS[:40][kept])


def test_half_precision_and_double_become_single():
    import ml_dtypes

    for kind in (np.float16, np.float64, ml_dtypes.bfloat16):
        (part,) = stream(pairs(FEATURES.astype(kind))).batches()
        assert part[0].dtype == np.float32
        np.testing.assert_array_equal(part[0], FEATURES.astype(kind).astype(np.float32))


def test_classifiers_are_found_from_the_logits():
    def function(inputs):
        return inputs, inputs @ CLASSIFIERS.T + BIAS

    found = bridges.from_callable(function, pairs())
    np.testing.assert_allclose(found.classifiers, CLASSIFIERS, atol=1e-4)
    np.testing.assert_allclose(found.bias, BIAS, atol=1e-3)
    # A direction in which nothing varies is not seen, and its classifiers are zero.
    flat = FEATURES * np.r_[np.ones(5), 0].astype(np.float32)
    seen = bridges.from_callable(function, pairs(flat)).classifiers
    np.testing.assert_allclose(seen, CLASSIFIERS * np.r_[np.ones(5), 0], atol=1e-4)
    with pytest.raises(ValueError, match="logits must be W h \\+ b"):
        bridges.from_callable(lambda x: (x, np.exp(10 * x[:, :3])), pairs())
    with pytest.raises(ValueError, match="batch 0: features and logits must have the same samples"):
        bridges.from_callable(lambda x: (x, x[1:, :3]), pairs())


def wrong(place, label):
    batches = pairs()
    batches[place][1][3] = label
    return batches


@pytest.mark.parametrize(
    ("loader", "options", "message"),
    [
        ([], {}, "loader must hold at least one sample"),
        ([(FEATURES[:0], LABELS[:0])], {}, "loader must hold at least one sample"),
        (iter(pairs()), {}, "loader must be an iterable that starts again"),
        (3, {}, "loader must be an iterable of batches"),
        (pairs(labels=LABELS + 1), {}, "batch 0: labels must be 0…2, got 3"),
        (wrong(2, -100), {}, "batch 2: labels must be 0…2, got -100.*ignore_index"),
        (pairs(labels=LABELS.astype(float)), {}, "batch 0: labels must be integers"),
        (pairs(labels=np.eye(3)[LABELS]), {}, "batch 0: labels must be integers"),
        ([(FEATURES, LABELS[1:])], {}, r"batch 0: labels must have the shape \(47,\)"),
        ([(FEATURES[:, None], LABELS)], {}, r"batch 0: labels must have the shape \(47, 1\)"),
        (pairs(LABELS), {}, r"batch 0: features must be floats"),
        (pairs(FEATURES[:, :4]), {}, "batch 0: features must have 6 columns"),
        (pairs(labels=LABELS % 2), {}, "each of the 3 classes, none of: 2"),
        ([(FEATURES, LABELS, 0)], {}, "batch 0: a batch must be a pair.*tuple of length 3.*unpack"),
        ([{"x": FEATURES, "y": 1}], {}, r"keys \['x', 'y'\].*unpack=lambda"),
        (pairs(), {"unpack": lambda batch: batch[0]}, "batch 0: unpack must return a pair"),
        (pairs(), {"classifiers": None}, "bias must come with classifiers"),
        (pairs(), {"classifiers": None, "bias": None}, "num_classes must be given"),
        (pairs(), {"classifiers": CLASSIFIERS[:1], "bias": None}, "num_classes must be at least 2"),
        (pairs(), {"classifiers": CLASSIFIERS * np.nan}, "classifiers must be finite"),
        (pairs(), {"classifiers": BIAS}, "classifiers must be floats"),
        (pairs(), {"bias": BIAS[:2]}, "bias must be 3 floats"),
    ],
)
def test_bad_input_is_named(loader, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        list(stream(loader, **options).batches())


def test_nan_in_a_late_batch_is_named():
    features = FEATURES.copy()
    features[33, 2] = np.inf
    with pytest.raises(ValueError, match="batch 3: features must be finite"):
        stream(pairs(features)).measure()


def test_other_samples_in_a_later_pass_are_seen():
    class Loader:
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield from pairs() if self.passes < 3 else pairs()[:4]

    with pytest.raises(ValueError, match="the same samples at each pass.*save one pass"):
        stream(Loader()).measure()


def test_fields_are_chosen_by_unpack():
    loader = [{"x": x, "y": y, "id": 0} for x, y in pairs()]
    assert_as_expected(stream(loader, unpack=lambda batch: (batch["x"], batch["y"])).measure())
