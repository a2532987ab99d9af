"""The logger: on frozen weights its numbers are those of all features at once."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from nc_jax import bridges, metrics
from nc_jax.bridges import running

RNG = np.random.default_rng(0)
LABELS = RNG.permutation(np.repeat(np.arange(3), [30, 12, 5]))
# Far from the origin and almost collapsed: differences of large squares would be lost.
FEATURES = (np.eye(3, 6)[LABELS] + 100 + 1e-2 * RNG.normal(size=(47, 6))).astype(np.float32)
CLASSIFIERS = RNG.normal(size=(3, 6)).astype(np.float32)
LEFT_OUT = ("nc1_pinv", "separation", "nc4")


def logged(logger, convert=np.asarray, classifiers=CLASSIFIERS, **columns):
    for first in range(0, 47, 10):
        rows = slice(first, first + 10)
        logger.update(convert(FEATURES[rows]), convert(LABELS[rows]))
    return logger.end_epoch(classifiers, **columns)


def assert_measures(row, rtol=1e-3):
    layer = metrics.NetworkLayer(FEATURES.astype(float), LABELS, CLASSIFIERS.astype(float))
    for name, value in metrics.collapse_metrics(layer)._asdict().items():
        if name not in LEFT_OUT:
            np.testing.assert_allclose(row[name], value, rtol, 1e-5, err_msg=name)
    assert not set(LEFT_OUT) & set(row)


@pytest.fixture
def on_device(monkeypatch):
    """JAX arrays of this test are summed as on an accelerator."""
    monkeypatch.setattr(running, "HostSums", running.ArraySums)


def converter(backend, request):
    """From NumPy arrays to those of a backend; 'device' is JAX on an accelerator."""
    if backend == "device":
        request.getfixturevalue("on_device")
    if backend == "torch":
        return pytest.importorskip("torch", reason="a bridge to PyTorch").tensor
    return np.asarray if backend == "numpy" else jnp.asarray


@pytest.mark.parametrize("backend", ["numpy", "jax", "device", "torch"])
def test_frozen_weights(backend, request):
    convert = converter(backend, request)
    logger = bridges.CollapseLogger(3, every=1)
    for epoch in (1, 2):
        row = logged(logger, convert, loss=0.5)
        assert_measures(row)
        assert row["epoch"] == epoch and row["loss"] == 0.5
        assert (row["samples"], row["left_out"], row["classes"]) == (47, 0, 3)
    seen = bridges.from_callable(lambda x: x, [(FEATURES, LABELS)], CLASSIFIERS).measure()
    np.testing.assert_allclose(row["feature_energy"], seen.feature_energy, rtol=1e-4)
    np.testing.assert_allclose(row["weight_energy"], seen.weight_energy, rtol=1e-6)


def test_no_compilation_from_epoch_to_epoch(on_device):
    logger = bridges.CollapseLogger(3, every=1)
    logged(logger, jnp.asarray)
    before = running._with_batches._cache_size()
    assert before > 0
    for _ in range(3):
        logged(logger, jnp.asarray)
    assert running._with_batches._cache_size() == before


def test_batches_that_are_held_are_copied():
    one, other = bridges.CollapseLogger(3, every=1), bridges.CollapseLogger(3, every=1)
    buffer = np.empty((10, 6), np.float32)
    for first in range(0, 40, 10):
        buffer[:] = FEATURES[first : first + 10]
        labels = LABELS[first : first + 10].copy()
        other.update(buffer.copy(), labels.copy())
        one.update(buffer, labels)
        buffer[:], labels[:] = np.nan, 0
    assert one.end_epoch(CLASSIFIERS) == other.end_epoch(CLASSIFIERS)


@pytest.mark.parametrize("backend", ["jax", "device", "torch"])
def test_many_batches_lose_no_digits(backend, request):
    convert = converter(backend, request)
    rng = np.random.default_rng(1)
    labels = np.tile(np.arange(3), 100)
    features = rng.normal(size=(300, 4)).astype(np.float32) + np.eye(3, 4, dtype=np.float32)[labels]
    exact = metrics.class_moments(features.astype(float), labels, 3)
    logger = bridges.CollapseLogger(3, every=1)
    for _ in range(700):
        logger.update(convert(features), convert(labels.astype(np.uint8)))
    row = logger.end_epoch()
    within, between = np.mean(exact.variances), np.sum(np.var(exact.means, axis=0))
    np.testing.assert_allclose(row["nc1_quotient"], within / between, rtol=1e-5)
    assert row["samples"] == 210_000


@pytest.mark.parametrize("backend", ["numpy", "device", "torch"])
@pytest.mark.parametrize("spread", [0.3, 0.12, 1e-3])
def test_sums_about_the_origin_lose_no_digits(backend, spread, request):
    """A second epoch sums about the origin if the variances allow it: v/‖m‖² = spread²."""
    convert = converter(backend, request)
    rng = np.random.default_rng(2)
    labels = np.arange(2000) % 3
    means = 5 + rng.normal(size=(3, 64))
    noise = rng.normal(size=(2000, 64)) * np.linalg.norm(means, axis=1)[labels, None] / 8
    features = (means[labels] + spread * noise).astype(np.float32)
    logger = bridges.CollapseLogger(3, every=1)
    for _ in range(2):
        for first in range(0, 2000, 100):
            rows = slice(first, first + 100)
            logger.update(convert(features[rows]), convert(labels[rows]))
        row = logger.end_epoch()
    exact = metrics.class_moments(features.astype(float), labels, 3)
    within, between = np.mean(exact.variances), np.sum(np.var(exact.means, axis=0))
    np.testing.assert_allclose(row["nc1_quotient"], within / between, rtol=2e-5)
    about = running.next_centres(np.asarray(exact.means), np.asarray(exact.variances))
    assert (about is None) == (spread > 0.1)


@pytest.mark.parametrize("backend", ["numpy", "jax", "device", "torch"])
def test_features_without_a_class_change_nothing(backend, request):
    convert = converter(backend, request)
    features = np.concatenate([FEATURES, np.full((4, 6), np.nan, np.float32)])
    labels = np.concatenate([LABELS, [-100, 3, -1, 255]])
    logger = bridges.CollapseLogger(3, every=1)
    for _ in range(2):
        logger.update(convert(features), convert(labels))
        row = logger.end_epoch(CLASSIFIERS)
        assert (row["samples"], row["left_out"]) == (47, 4)
        assert_measures(row)


def test_what_is_missing_is_said():
    logger = bridges.CollapseLogger(3, every=1)
    logger.update(FEATURES, np.where(LABELS == 2, -100, LABELS))
    row = logger.end_epoch(CLASSIFIERS)
    assert (row["samples"], row["left_out"], row["classes"]) == (42, 5, 2)
    assert np.isnan(row["nc1_quotient"]) and np.isnan(row["nc2_etf"])
    row = logged(logger, classifiers=None)
    assert np.isnan(row["nc3_product"]) and np.isnan(row["weight_energy"])
    assert np.isfinite(row["nc2_etf"])


def test_every_second_batch():
    one, other = bridges.CollapseLogger(3, every=2), bridges.CollapseLogger(3, every=1)
    for first in range(0, 40, 10):
        for logger in (one,) if first % 20 else (one, other):
            logger.update(FEATURES[first : first + 10], LABELS[first : first + 10])
    assert one.end_epoch(CLASSIFIERS) == other.end_epoch(CLASSIFIERS)
    assert one.rows[0]["samples"] == 20


@pytest.mark.parametrize("step", [1e-3, 1e-1])
def test_a_logger_of_fast_steps_leaves_out_batches(monkeypatch, step):
    """An update takes 0.1 ms of processor time; the first epoch is used whole and not counted."""
    clock = {"wall": 0.0, "own": 0.0}
    monkeypatch.setattr("time.perf_counter", lambda: clock["wall"])
    monkeypatch.setattr("time.thread_time", lambda: clock["own"])
    logger, batch = bridges.CollapseLogger(3), (FEATURES[:10], LABELS[:10])
    for _ in range(5):
        for _ in range(200):
            clock["wall"] += step
            logger.update(*batch)
            if logger._sums is not None and not hasattr(logger._sums, "slow"):
                logger._sums.add, logger._sums.slow = slow(logger._sums.add, clock), True
        logger.end_epoch(CLASSIFIERS)
        # Between epochs a training may pause, which earns the logger nothing.
        clock["wall"] += 100.0
    used = [row["samples"] for row in logger.rows]
    assert used[0] == 2000
    if step > 5e-3:
        assert used == [2000] * 5
    else:
        # 20 % of the batches cost 2 % of the time.
        assert all(abs(samples - 400) <= 20 for samples in used[1:])


def slow(add, clock):
    """The same sums at a cost of 0.1 ms on the given clock."""

    def added(*batch):
        clock["own"] += 1e-4
        add(*batch)

    return added


def test_tokens_are_samples():
    one, other = bridges.CollapseLogger(3, every=1), bridges.CollapseLogger(3, every=1)
    one.update(FEATURES[:40].reshape(4, 10, 6), LABELS[:40].reshape(4, 10))
    other.update(FEATURES[:40], LABELS[:40])
    assert one.end_epoch(CLASSIFIERS) == other.end_epoch(CLASSIFIERS)


def test_table_and_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    logger = bridges.CollapseLogger(3, every=1)
    logged(logger)
    logged(logger, loss=0.25)
    table = logger.table()
    assert table["epoch"].tolist() == [1, 2] and len(logger.rows) == 2
    path = tmp_path / "logs" / "collapse.csv"
    logger.write_csv(path)
    pandas.testing.assert_frame_equal(pandas.read_csv(path), table)
    assert [file.name for file in path.parent.iterdir()] == ["collapse.csv"]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        bridges.CollapseLogger(1)
    with pytest.raises(ValueError, match="every must be at least 1"):
        bridges.CollapseLogger(3, every=0)
    logger = bridges.CollapseLogger(3)
    with pytest.raises(ValueError, match="end_epoch needs at least one update"):
        logger.end_epoch()
    with pytest.raises(ValueError, match=r"labels of that shape without p, got \(47, 6\)"):
        logger.update(FEATURES, LABELS[1:])
    logger.update(FEATURES, LABELS)
    with pytest.raises(ValueError, match="features must have 6 columns"):
        logger.update(FEATURES[:, :5], LABELS)
    with pytest.raises(ValueError, match=r"classifiers must have the shape \(3, 6\)"):
        logger.end_epoch(CLASSIFIERS[:2])


def test_a_torch_training_is_watched():
    torch = pytest.importorskip("torch", reason="a bridge to PyTorch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    logger = bridges.CollapseLogger(3)
    features, labels = torch.tensor(FEATURES), torch.tensor(LABELS)
    with bridges.TorchWatch(module) as watch:
        with pytest.raises(ValueError, match="run a batch through the module before using"):
            _ = watch.features
        with pytest.raises(ValueError, match="use features once"):
            _ = watch.classifiers
        for first in range(0, 47, 10):
            module(features)  # not asked for, not logged
            with torch.autocast("cpu", torch.bfloat16, enabled=False):
                loss = module(features[first : first + 10]).sum()
            logger.update(watch.features, labels[first : first + 10])
            loss.backward()
            assert not watch.features.requires_grad
        row = logger.end_epoch(watch.classifiers)
        assert sum(len(part._forward_hooks) for part in module.modules()) == 1
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    with pytest.raises(ValueError, match="this watch is closed"):
        _ = watch.features
    with torch.no_grad():
        hidden = module[:2](features).double().numpy()
    layer = metrics.NetworkLayer(hidden, LABELS, module[2].weight.detach().double().numpy())
    for name, value in metrics.collapse_metrics(layer)._asdict().items():
        if name not in LEFT_OUT:
            np.testing.assert_allclose(row[name], value, 2e-3, err_msg=name)
    compiled = torch.compile(module, backend="eager")
    with pytest.raises(ValueError, match="module must run eagerly"):
        bridges.TorchWatch(compiled)


def test_importing_the_bridges_needs_neither_torch_nor_flax():
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'flax'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from nc_jax import bridges\n"
        "for call in (bridges.from_torch, bridges.from_nnx):\n"
        "    try: call(None, [])\n"
        "    except ImportError as error: print(error)\n"
        "try: bridges.from_linen(None, {}, [])\n"
        "except ImportError as error: print(error)\n"
        "print(bridges.CollapseLogger(2).rows)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "needs the package torch: pip install torch" in lines[0]
    assert all("package flax: pip install 'nc-jax[train]'" in line for line in lines[1:3])
    assert lines[3] == "[]"
