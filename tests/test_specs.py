"""Sweeps as TOML: what they solve agrees with the models, and what is wrong is named."""

import dataclasses

import jax
import numpy as np
import pytest

import nc_jax as nc
from nc_jax.datasets import balanced_features, load_images
from nc_jax.experiments import Experiment, experiment_from
from nc_jax.specs import parse_spec, read_spec
from nc_jax.sweeps import Block, Plan, Store, Values, run_sweep
from nc_jax.sweeps.plan import compiled_choices
from tests.test_architecture import ROOT

AXES = {"ratio": [1.0, 10.0, 100.0], "budget": {"linspace": [1.0, 2.0, 2]}}
GOOD = {"model": {"majority": 3, "minority": 2}, "axes": AXES}


def rows_of(spec, tmp_path):
    store = Store(tmp_path)
    blocks = tuple(dataclasses.replace(block, chunk=4) for block in spec.plan.blocks)
    plan = store.prepare(dataclasses.replace(spec.plan, blocks=blocks))
    outcome = run_sweep(plan, spec.experiment, store, spec.seed)
    assert not outcome.failed, outcome.failed
    return store.to_pandas()


def test_layer_peeled_rows_are_the_models(tmp_path):
    outputs = ["status", "phase", "objective", "gap", "minority_cosine", "tail_cosine"]
    rows = rows_of(parse_spec(GOOD | {"outputs": outputs}), tmp_path)
    assert len(rows) == 6
    for row in rows.to_dict("records"):
        sizes = nc.two_groups(3, 2, row["ratio"])
        one = nc.solve(nc.LayerPeeled(sizes, 1.0, row["budget"] ** 2))
        np.testing.assert_allclose(row["objective"], one.objective, rtol=1e-12)
        np.testing.assert_allclose(row["minority_cosine"], one.within_cosines[1], atol=1e-12)
        np.testing.assert_allclose(row["tail_cosine"], one.within_cosines[1], atol=1e-7)
        assert nc.Phase(int(row["phase"])).name.lower() == nc.phase(one)


def test_choices_are_blocks_and_designs_are_axes(tmp_path):
    given = {
        "surrogate": "unconstrained",
        "outputs": ["status", "objective", "majority_norm"],
        "model": {"num_classes": 3, "minority_size": 10, "ratio": 5.0},
        "axes": {"majority": [1, 2]},
        "designs": {
            "decay": {"sobol": 4, "lambda_w": [1e-3, 1e-1, "log"], "lambda_h": [1e-4, 1e-3]}
        },
    }
    spec = parse_spec(given)
    assert [dict(block.choices) for block in spec.plan.blocks] == [{"majority": 1}, {"majority": 2}]
    rows = rows_of(spec, tmp_path)
    assert len(rows) == 8 and (rows["status"] == nc.Status.CONVERGED).all()
    row = rows.iloc[-1]
    sizes = nc.two_groups(2, 1, 5.0, 10.0)
    one = nc.solve(nc.UnconstrainedFeatures(sizes, row["lambda_w"], row["lambda_h"]))
    np.testing.assert_allclose(row["objective"], one.objective, rtol=1e-9)


TWO_GROUPS = {
    "surrogate": "unconstrained",
    "outputs": ["status", "phase", "objective", "minority_norm", "majority_cosine"],
    "model": {"num_classes": 6, "minority_size": 10, "lambda_w": 0.01, "lambda_h": 1e-3},
    "axes": {"majority": [1, 2, 5], "lambda_b": [0.0, 0.1], "ratio": [2.0, 30.0]},
}


def test_blocks_that_differ_in_numbers_of_classes_share_a_program(tmp_path):
    spec = parse_spec(TWO_GROUPS)
    assert compiled_choices(spec.plan, spec.experiment) == [()] * 3
    rows = rows_of(spec, tmp_path)
    assert len(rows) == 12 and (rows["status"] == nc.Status.CONVERGED).all()
    for row in rows.to_dict("records"):
        count = int(row["majority"])
        sizes = nc.two_groups(count, 6 - count, row["ratio"], 10.0)
        one = nc.solve(nc.UnconstrainedFeatures(sizes, 0.01, 1e-3, row["lambda_b"]))
        np.testing.assert_allclose(row["objective"], one.objective, rtol=1e-10)
        np.testing.assert_allclose(row["minority_norm"], one.classifier_norms[1], atol=1e-6)
        np.testing.assert_allclose(row["majority_cosine"], one.within_cosines[0], atol=1e-6)
        assert nc.Phase(int(row["phase"])).name.lower() == nc.phase(one)


def test_balanced_numbers_of_classes_are_columns_too(tmp_path):
    axes = {"num_classes": [2, 5, 40], "budget": [0.5, 2.0]}
    given = {"classes": "balanced", "axes": axes, "outputs": ["status", "objective"]}
    spec = parse_spec(given)
    assert compiled_choices(spec.plan, spec.experiment) == [()] * 3
    for row in rows_of(spec, tmp_path).to_dict("records"):
        known = nc.theory.balanced_optimum(int(row["num_classes"]), row["budget"])
        np.testing.assert_allclose(row["objective"], known.objective, rtol=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": ["status", "tail_cosine"]},
        {"solver": "FactoredMultiStart"},
        {"loss": "power-softmax", "model": TWO_GROUPS["model"] | {"q": 2.0}},
        {"model": TWO_GROUPS["model"] | {"dimension": 6}},
        {"model": TWO_GROUPS["model"] | {"samples": 2}},
        # A block that is alone has a faster program of its own.
        {"axes": TWO_GROUPS["axes"] | {"majority": [2]}},
        # The second one is refused when its program is built.
        {"axes": TWO_GROUPS["axes"] | {"majority": [1, 6]}},
    ],
)
def test_other_blocks_keep_programs_of_their_own(change):
    given = TWO_GROUPS | change
    experiment = Experiment(
        **{name: given[name] for name in given if name not in ("model", "axes")},
        fixed=given["model"],
    )
    ratios = Values("ratio", np.array([2.0, 30.0]))
    blocks = tuple(Block({"majority": count}, ratios, 2) for count in given["axes"]["majority"])
    choices = compiled_choices(Plan({}, blocks), experiment)
    assert choices[-1] == (("majority", given["axes"]["majority"][-1]),)


def test_a_block_of_impossible_counts_fails_alone(tmp_path):
    experiment = Experiment(fixed={"num_classes": 4, "budget": 1.0}, outputs=["objective"])
    ratios = Values("ratio", np.array([2.0, 30.0]))
    blocks = tuple(Block({"majority": count}, ratios, 2) for count in (1, 4, 2))
    store = Store(tmp_path)
    outcome = run_sweep(store.prepare(Plan({}, blocks)), experiment, store)
    assert outcome.points == 4
    alone = Experiment(classes="balanced", fixed={"budget": 1.0})
    size = Values("class_size", np.array([1.0]))
    for counts in ((2, 1), (2, 0), (2, 2.5)):
        own = tuple(Block({"num_classes": count}, size, 1) for count in counts)
        assert compiled_choices(Plan({}, own), alone)[1] == (("num_classes", counts[1]),)
    assert (
        "majority must be from 1 to num_classes" in outcome.failed[0] and "4" in outcome.failed[0]
    )


BALANCED = {
    "classes": "balanced",
    "axes": {"budget": [2.0]},
    "model": {"num_classes": 3},
    "outputs": ["status", "objective", "nc1_quotient", "nc2_etf", "smallest_norm"],
}


def test_balanced_rows_are_collapsed(tmp_path):
    row = rows_of(parse_spec(BALANCED), tmp_path).iloc[0]
    known = nc.theory.balanced_optimum(3, 2.0)
    np.testing.assert_allclose(row["objective"], known.objective, rtol=1e-9)
    np.testing.assert_allclose(row["smallest_norm"], 1.0, rtol=1e-6)
    assert row["nc1_quotient"] < 1e-9 and row["nc2_etf"] < 1e-6


def test_contrastive_rows_reach_the_known_optimum(tmp_path):
    given = BALANCED | {"loss": "supervised-contrastive", "axes": {"feature_energy": [1.0, 2.0]}}
    given |= {"model": {"num_classes": 3, "temperature": 0.5, "samples": 2, "weight_energy": 1.0}}
    given |= {"outputs": ["objective", "spread"]}
    given |= {"solver": {"name": "FactoredMultiStart", "restarts": 3}}
    rows = rows_of(parse_spec(given | {"model": given["model"] | {"class_size": 2}}), tmp_path)
    known = [nc.theory.contrastive_optimum(3, 2, energy, 0.5) for energy in (1.0, 2.0)]
    np.testing.assert_allclose(rows["objective"], known, rtol=1e-9)


def test_one_deep_layer_is_the_layer_peeled_model(tmp_path):
    given = GOOD | {"surrogate": "deep-layer-peeled", "outputs": ["objective", "minority_cosine"]}
    given |= {"axes": {"budget": [1.5], "ratio": [2.0]}}
    given |= {"model": {"majority": 2, "minority": 1, "num_layers": 1}}
    row = rows_of(parse_spec(given), tmp_path).iloc[0]
    one = nc.solve(nc.LayerPeeled(nc.two_groups(2, 1, 2.0), 1.0, 1.5**2))
    np.testing.assert_allclose(row["objective"], one.objective, rtol=1e-7)


def test_multilayer_rows_are_the_models(tmp_path):
    data = {"data": "digits", "num_classes": 3, "per_class": 8}
    given = {
        "surrogate": "multilayer",
        "classes": "data",
        "loss": "mean-squared-error",
        "solver": {"name": "EliminatedMultiStart", "restarts": 4},
        "outputs": ["status", "objective", "pfc1", "pfc3", "alignment", "nc1_quotient", "residual"],
        "model": data | {"lambda_w": 0.01},
        "axes": {"lambda_h": [0.01, 1.0, 100.0, 1000.0, 1e4]},
    }
    rows = rows_of(parse_spec(given), tmp_path)
    assert len(rows) == 5 and rows["pfc1"].is_monotonic_increasing
    inputs, labels = balanced_features(load_images("digits"), 3, 8, 1)
    model = nc.MultilayerUnconstrainedFeatures(inputs, labels, 0.01, rows["lambda_h"].to_numpy())
    found = nc.solve_batch(model)
    np.testing.assert_allclose(rows["objective"], found.objective, rtol=1e-9)
    np.testing.assert_allclose(rows["alignment"][0], found.lane(0).alignment, rtol=1e-6)
    np.testing.assert_allclose(rows["pfc1"], rows["nc1_quotient"], rtol=1e-9)


def test_zipped_axes_run_side_by_side():
    spec = parse_spec(GOOD | {"axes": {"ratio": [1.0, 2.0], "budget": [3.0, 4.0]},
                              "zip": [["ratio", "budget"]]})  # fmt: skip
    columns = spec.plan.blocks[0].grid.at(np.arange(2))
    assert columns["ratio"].tolist() == [1.0, 2.0] and columns["budget"].tolist() == [3.0, 4.0]


def test_random_starts_follow_the_point_not_the_chunk(tmp_path):
    given = GOOD | {"loss": "power-softmax", "outputs": ["objective", "residual", "spread"]}
    given |= {"model": {"majority": 2, "minority": 1, "q": 2.0}}
    spec = parse_spec(given)
    block = spec.plan.blocks[0]
    tables = []
    for chunk in (6, 5):
        store = Store(tmp_path / str(chunk))
        blocks = (dataclasses.replace(block, chunk=chunk),)
        run_sweep(
            store.prepare(dataclasses.replace(spec.plan, blocks=blocks)), spec.experiment, store
        )
        tables.append(store.to_pandas())
    np.testing.assert_allclose(tables[0]["spread"], tables[1]["spread"], atol=1e-9)
    np.testing.assert_allclose(tables[0]["objective"], tables[1]["objective"], rtol=1e-9)


def test_a_bad_lane_is_a_row_with_a_status(tmp_path):
    spec = parse_spec(GOOD | {"axes": {"ratio": [1.0, -1.0], "budget": [2.0]}})
    rows = rows_of(spec, tmp_path)
    assert rows["status"].tolist() == [nc.Status.CONVERGED, nc.Status.INVALID]
    assert np.isnan(rows["objective"]).tolist() == [False, True]


def test_single_precision_and_settings():
    spec = parse_spec(GOOD | {"dtype": "float32"})
    again = experiment_from(spec.plan.settings)
    assert again.spec() | {"seed": 0} == spec.plan.settings
    out = jax.eval_shape(
        spec.experiment({}), spec.plan.blocks[0].grid.at(np.arange(2)),
        jax.random.split(jax.random.key(0), 2),
    )  # fmt: skip
    assert out["objective"].dtype == np.float32


@pytest.mark.parametrize("name", ["ratio_budget", "weight_decay", "long_tailed"])
def test_worked_specs_are_good(name):
    spec = read_spec(ROOT / "studies" / "specs" / f"{name}.toml")
    assert spec.plan.num_points > 100


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"surrogat": "x"}, "surrogat: unknown key"),
        ({"surrogate": "peeled"}, "surrogate must be one of layer-peeled"),
        ({"loss": "hinge"}, "loss must be"),
        ({"solver": "Newton"}, "solver must be"),
        ({"solver": {"name": "FactoredMultiStart", "starts": 3}}, "solver: .* 'starts'"),
        ({"solver": {"name": "FactoredMultiStart", "restarts": 0}}, "solver: restarts"),
        ({"solver": {"restarts": 3}}, "solver must be"),
        ({"solver": {"name": "auto", "restarts": 3}}, "'auto' takes no settings"),
        ({"solver": 3}, "solver must be"),
        ({"classes": "data"}, "classes = 'data' and surrogate = 'multilayer' must"),
        ({"surrogate": "multilayer"}, "classes = 'data' and surrogate = 'multilayer' must"),
        ({"outputs": ["pfc1"]}, "pfc1 needs surrogate"),
        ({"dtype": "float16"}, "dtype must be"),
        ({"outputs": []}, "outputs must be"),
        ({"outputs": ["colour"]}, "outputs must be one of .*'colour'"),
        ({"outputs": ["residual"]}, "residual needs solver"),
        ({"store": 3}, "store must be"),
        ({"seed": -1}, "seed must be"),
        ({"chunk": 1.5}, "chunk must be"),
        ({"model": 3}, "model must be a table"),
        ({"model": {"majority": 3}}, "exactly two of majority, minority"),
        ({"model": {"majority": 12, "num_classes": 10}}, "majority must be from 1 to .* = 9"),
        ({"model": {"majority": 3, "minority": 2.5}}, "minority must be a positive integer"),
        ({"model": {"majority": 3, "minority": 2, "colour": 1}}, "colour"),
        ({"model": {"majority": 3, "minority": 2, "ratio": 2}}, "ratio is already in"),
        ({"axes": {}}, "axes must hold"),
        ({"axes": AXES | {"ratio": []}}, "ratio"),
        ({"axes": AXES | {"ratios": [1.0]}}, "ratios"),
        ({"axes": AXES | {"ratio": ["a"]}}, "ratio must be a number"),
        ({"axes": AXES | {"ratio": {"logspace": [0, 1, 3]}}}, "positive ends"),
        ({"axes": AXES | {"ratio": {"logspace": [1, 3]}}}, "start, stop, num"),
        ({"axes": AXES | {"ratio": {"spiral": [1]}}}, "ratio must be a list"),
        ({"axes": {"budget": [1.0]}}, "needs ratio"),
        ({"zip": [["ratio", "bugdet"]]}, "bugdet"),
        ({"zip": [["ratio", "budget"]]}, "equal lengths"),
        ({"designs": {"d": {"lambda_w": [1, 2]}}}, "sobol = number"),
        ({"designs": {"d": {"sobol": 4, "weight_energy": [2, 1]}}}, "low < high"),
        ({"classes": "long-tailed", "model": {}}, "needs num_classes"),
        ({"surrogate": "unconstrained", "axes": {"ratio": [1.0]}}, "needs lambda_w, lambda_h"),
    ],
)  # fmt: skip
def test_bad_specs_are_one_line_that_names_the_key(changes, named):
    with pytest.raises((ValueError, TypeError), match=named) as caught:
        parse_spec(GOOD | changes)
    assert "\n" not in str(caught.value)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_spec(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("axes = [")
    with pytest.raises(ValueError, match=r"bad\.toml is not TOML"):
        read_spec(tmp_path / "bad.toml")
    with pytest.raises(ValueError, match="outputs"):
        Experiment(outputs="gap")
