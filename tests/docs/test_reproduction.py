"""The reproduction page quotes the committed tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nc_jax import theory

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reproduction.md"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text(encoding="utf-8")


def table(folder: str, name: str = "table") -> pd.DataFrame:
    return pd.read_parquet(ROOT / "results" / folder / f"{name}.parquet")


def test_thresholds_are_those_of_theory(page):
    for energy in (5, 10):
        for majority in (3, 5, 7):
            ratio = theory.collapse_ratio(majority, 10 - majority, energy**0.5)
            assert f"{float(ratio):.9g}" in page
        assert f"{float(theory.vanish_ratio(7, 3, energy**0.5)):.9g}" in page


def test_gaps_of_the_phase_transition(page):
    points = table("phase_transition")
    assert f"{len(points):,} points" in page
    assert f"{points['gap'].max():.1e}".replace("-", "−") in page.replace("e−0", "e−")


def test_distances_of_networks_from_the_model(page):
    runs = table("minority_collapse/cpu")
    assert f"is {runs['difference'].abs().mean():.3f} over all runs" in page
    for _, part in runs.groupby(["data", "weight_decay"]):
        assert f"{part['difference'].abs().mean():.3f}" in page
    unlearnt = int((runs["train_accuracy_minority"] < 0.05).sum())
    assert f"In {unlearnt} of the {len(runs)} runs the small classes were not learnt" in page


def test_norm_variations(page):
    runs = table("minority_collapse/cpu")
    last = runs[runs["ratio"] == runs["ratio"].max()]
    names = {"fashion_mnist": "FashionMNIST", "cifar10": "CIFAR-10"}
    for (data, decay), part in last.groupby(["data", "weight_decay"]):
        means = part.groupby("majority")["minority_norm_variation"].mean()
        row = " | ".join(f"{means[majority]:.1e}" for majority in (3, 5, 7))
        assert f"| {names[data]} | {decay:g} | {row} |" in page
    seven = last[last["majority"] == 7].groupby(["data", "weight_decay"])["minority_cosine"].mean()
    assert all(f"{cosine:.3f}" in page for cosine in seven)


# VGG11 of Table 2 of Fang et al. 2021: minority plain and best, all plain and best.
PUBLISHED = {
    3: (15.29, 41.13, 40.10, 58.25),
    5: (20.30, 57.22, 57.61, 76.17),
    7: (17.00, 30.50, 69.09, 73.37),
}


@pytest.mark.parametrize("majority", PUBLISHED)
def test_accuracies_of_oversampling_and_their_differences(page, majority):
    runs = table("oversampling/cpu")
    own = runs[(runs["data"] == "fashion_mnist") & (runs["majority"] == majority)]
    own = own[own["ratio"] == own["ratio"].max()].set_index("rate")
    best = own["test_accuracy_minority"].idxmax()
    columns = ["test_accuracy_minority", "test_accuracy_all"]
    ours = 100 * own.loc[[1, best], columns].to_numpy().T.ravel()
    cells = " | ".join(f"{value:.1f}" for value in ours)
    signed = ", ".join(f"{value:.1f}" for value in ours - PUBLISHED[majority]).replace("-", "−")
    assert f"| {majority} | {cells} | {signed} |" in page


def test_straight_lines(page):
    lines = table("geodesic")
    falls = lines["pfc1_falling"].to_numpy(bool)
    above = lines["C"].to_numpy() >= 0
    assert f"{falls[above].sum()} of {above.sum()} random lines" in page
    assert f"{falls[~above].sum()} of {(~above).sum()} with" in page
    assert f"{lines['pfc2_falls_from'].max():.3f}" in page


def test_layers_of_residual_networks(page):
    for _, blocks in table("feedforward_collapse/cpu").groupby("data"):
        for name in ("pfc1", "pfc2"):
            first, last = blocks.sort_values("layer")[name].to_numpy()[[0, -1]]
            assert f"{first:.3g} to {last:.3g}" in page


def test_the_multilayer_model(page):
    prices = table("multilayer_ufm")
    certified = int((prices["status"] == "converged").sum())
    assert f"{certified} of {len(prices)} optima are certified" in page
    ends = prices.sort_values("lambda_h")["alignment"].to_numpy()[[0, -1]]
    assert f"from {ends[0]:.6f} to {ends[1]:.6f}" in page


def test_collapse_with_and_without_weight_decay(page):
    runs = table("weight_decay/cpu")
    for _, part in runs.groupby(["data", "network", "weight_decay"]):
        for measure in ("nc1_quotient", "nc3_difference"):
            means = part.groupby("head")[measure].mean()
            assert f"{means.min():.2g} to {means.max():.2g}" in page
    small = table("weight_decay/cpu", "small").set_index("head")
    bare = small.loc["bias-free"]
    assert f"{np.abs(bare['cosine']).max():.1e}" in page
    assert f"the error of the direction is {100 * bare['direction'].max():.0f} %" in page
    assert f"{small.loc['bias', 'cosine'].max():.6f}".replace("-", "−") in page
