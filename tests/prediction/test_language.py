"""Surrogates of a language model's head: special cases, bounds, and the words about them."""

import numpy as np
import pandas as pd
import pytest

import nc_jax as nc
from nc_jax.datasets.contexts import ContextRows, context_rows
from nc_jax.metrics.tokens import binned_rows, frequency_bins, nearest_distances
from nc_jax.prediction.language import TOKEN_SURROGATES, TokenTask, merged_sizes, predict_tokens
from nc_jax.prediction.normalised import solve_normalised
from nc_jax.prediction.rows import compare_rows, rank_correlation, summarise_rows, verdict_on_rows

COUNTS = np.array([400, 200, 100, 50, 20, 10, 10, 10, 2, 2.0])
V = len(COUNTS)
# Each context is followed by one token alone.
CERTAIN = ContextRows(np.arange(V), COUNTS, np.eye(V))
LAMBDA = 0.02


def task(contexts=CERTAIN, merged=0.02, groups=20):
    bins, rare = frequency_bins(COUNTS, 4), COUNTS <= 10
    return TokenTask(COUNTS, contexts, V, bins, rare, merged, groups, 2000)


def text_rows(rows=5):
    tokens = np.random.default_rng(0).choice(V, 3000, p=COUNTS / COUNTS.sum())
    tokens[1::2] = (tokens[::2] + 1) % V
    return context_rows(tokens, V, rows)


def test_contexts_that_are_certain_are_hard_targets():
    hard, soft = (predict_tokens(f"{kind}-decay", task(), 0.06, {}) for kind in ("hard", "soft"))
    np.testing.assert_allclose(soft.norms, hard.norms, rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(soft.binned.cosines, hard.binned.cosines, atol=5e-3)
    np.testing.assert_array_equal(soft.binned.merged, hard.binned.merged)
    np.testing.assert_allclose(soft.numbers["objective"], hard.numbers["objective"], rtol=1e-6)
    np.testing.assert_allclose(soft.numbers["loss"], hard.numbers["loss"], rtol=1e-4)
    # Tokens that stand twice have collapsed, those that stand ten times have not: √2 < λ√N < √10.
    assert hard.numbers["rare_merged"] == 2 / 5


def test_a_hard_model_s_groups_say_what_its_rows_say():
    measured = {"weight_energy": 1.2, "feature_energy": 2.5}
    found = predict_tokens("hard-budgets", task(merged=0.3), LAMBDA, measured)
    rows = np.asarray(nc.solve(nc.LayerPeeled(merged_sizes(COUNTS, 20), 1.2, 2.5)).classifiers)
    known = binned_rows(rows, task().bins, nearest_distances(rows) <= 0.3)
    for own, other in zip(found.binned, known, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    np.testing.assert_allclose(np.mean(found.norms**2), 1.2, rtol=1e-6)


def test_budgets_of_soft_targets_are_kept():
    measured = {"weight_energy": 0.7, "context_energy": 1.9}
    found = predict_tokens("soft-budgets", task(text_rows()), LAMBDA, measured)
    np.testing.assert_allclose(np.mean(found.norms**2), 0.7, rtol=1e-3)
    assert found.numbers["gap"] < 1e-3 and np.isfinite(found.numbers["participation"])


def test_groups_merge_no_more_than_they_must():
    exact = merged_sizes(COUNTS, 20)
    np.testing.assert_allclose(exact.class_sizes, COUNTS)
    assert exact.num_groups == 7
    few = merged_sizes(COUNTS, 4)
    assert few.num_groups <= 4
    np.testing.assert_allclose(np.sum(few.class_sizes), COUNTS.sum())
    members = np.asarray(few.membership)
    spread = [COUNTS[members == g].max() / COUNTS[members == g].min() for g in range(4)]
    assert max(spread) <= 5
    assert merged_sizes(COUNTS, 1).num_groups == 1
    with pytest.raises(ValueError, match="groups"):
        merged_sizes(COUNTS, 0)


def test_a_normalised_head_obeys_its_identities_and_bounds():
    contexts, width = text_rows(), 6
    found = solve_normalised(contexts, width, LAMBDA, 3000)
    share = contexts.counts / contexts.counts.sum()
    heads, norms = np.sum(found.rows**2), np.sum(found.gain**2) + np.sum(found.offset**2)
    # Scaling one up and the other down changes no logit.
    np.testing.assert_allclose(heads, norms, rtol=0.02)
    about = (found.features - found.offset) * np.sqrt(share)[:, None]
    nuclear = np.sum(np.linalg.svd(about, compute_uv=False))
    assert np.sum(found.gain**2) >= nuclear**2 / width * (1 - 1e-9)
    lengths = np.sum(((found.features - found.offset) / found.gain) ** 2, axis=1)
    np.testing.assert_allclose(lengths, width, rtol=1e-5)
    # No features cost less than 1/(p + 1) of what unconstrained ones do.
    rows, loss = contexts.counts, nc.SoftTargets(contexts.targets)
    least = nc.UnconstrainedFeatures(
        rows, LAMBDA, LAMBDA / rows.sum() / (width + 1), loss=loss, dimension=V
    )
    bound = nc.solve(least)
    assert found.objective >= float(bound.objective - bound.gap)
    np.testing.assert_allclose(found.objective, found.loss + LAMBDA / 2 * (heads + norms))
    zero = np.log(V)
    assert found.objective < zero


def test_words_and_tables_say_how_far_a_surrogate_is():
    shared = {"optimiser": "sgd", "head": "untied", "weight_decay": 0.1, "seed": 0}
    seen = shared | {"norms": [1.0, 2, 3, 4], "bin_cosines": [0.5, np.nan], "rare_cosine": 0.5}
    seen |= {"rare_merged": 0.25, "train_loss": 2.0, "balance": 1.5, "test_accuracy": 0.3}
    seen |= {"test_rare_accuracy": 0.0}
    told = shared | {"norms": [2.0, 3, 4, 5], "bin_cosines": [0.2, 0.1], "rare_cosine": 0.4}
    told |= {
        "rare_merged": 0.75,
        "loss": 1.0,
        "gap": 0.0,
        "residual": 0.0,
        "surrogate": "soft-norm",
    }
    ends, rare = pd.DataFrame([seen]), np.array([True, True, False, False])
    compared = compare_rows(ends, pd.DataFrame([told]), rare)
    row = compared.iloc[0]
    np.testing.assert_allclose(row["norm_error"], 0.4)
    np.testing.assert_allclose(row["cosine_error"], 0.3)
    np.testing.assert_allclose(row["rare_norm_ratio"], 5 / 3)
    assert row["norm_correlation"] == 1
    assert summarise_rows(compared)["share of rare rows merged, predicted"].tolist() == ["0.75"]
    said = verdict_on_rows(compared, ends, 1.7)
    assert "soft-norm has the smallest error" in said and "0.50 with 25% merged" in said
    assert np.isnan(rank_correlation([1.0, 1.0], [1.0, 2.0]))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="surrogate"):
        predict_tokens("firm-decay", task(), LAMBDA, {})
    for surrogate in TOKEN_SURROGATES:
        if not surrogate.endswith("budgets"):
            with pytest.raises(ValueError, match="weight_decay"):
                predict_tokens(surrogate, task(), 0.0, {})
    with pytest.raises(ValueError, match="width"):
        solve_normalised(CERTAIN, 1, 0.1, 10)
