"""Do features that start from the data collapse on the way to the last layer?

Reproduces Figs. 4 and 5 of Wang, Gai, Zhang (2024). Fig. 4: plain gradient descent on
unconstrained features (UFM) and on the multilayer model (MUFM), which penalises moving
features away from the data: PFC1–PFC3 over the iterations, compared with the optimum and
the data. Fig. 5: the optimum against the penalty λ_H on moving features, every
point with its certificate: PFC metrics, alignment with the data, and λ_0, the value from
which on NC1(H) < NC1(X) (their Theorem 4). A third figure shows the intermediate layers.

    python studies/multilayer_ufm.py
    python studies/multilayer_ufm.py --data digits --num-classes 10 --per-class 100
    python studies/multilayer_ufm.py --data mnist --data-dir DATA --num-classes 10

Time on two CPU cores: 25 s; with --preset digits 70 s.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax.campaigns import balanced_pixels, require_data_set
from nc_jax.datasets import gaussian_classes
from nc_jax.experiments import descent_rows, solved
from nc_jax.metrics import feedforward_metrics
from nc_jax.report import Count, Interval, NonNegative, Positive, TwoOrMore
from nc_jax.report.multilayer import (
    MEASURES,
    draw_descent,
    draw_layers,
    draw_prices,
    summarise_collapse,
)
from nc_jax.study import Results, Study, swept, with_names
from nc_jax.sweeps import Block, Build, Values
from nc_jax.theory import bracket, narrow


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    data: str = "gaussian"
    """The inputs X: gaussian for Gaussian classes, or pixels of mean square length one of a data
    set: digits, mnist, fashion_mnist, cifar10, cifar100, stl10, or a .npz archive of
    train_images, train_labels, test_images and test_labels."""
    data_dir: Path | None = None
    """Folder of the image data; by default the value of $NC_JAX_DATA."""
    num_classes: TwoOrMore = 4
    """K, the number of classes."""
    per_class: Count = 50
    """n, the number of samples in each class."""
    dimension: Count = 20
    """d, the dimension of Gaussian classes; pixels have their own dimension."""
    sigma: NonNegative[float] = 0.3
    """σ, the standard deviation of Gaussian classes; their means lie on the unit sphere."""
    lambda_w: Positive = 5e-3
    """λ_W, the weight decay of the classifiers."""
    lambda_h: Positive = 0.1
    """λ_H, the penalty on moving features, in Fig. 4."""
    lambda_range: Interval = (1e-6, 1e3)
    """Smallest and largest λ_H in Fig. 5."""
    num_lambdas: TwoOrMore = 241
    """Number of values of λ_H in Fig. 5."""
    num_layers: Count = 12
    """L, the number of layers in the third figure."""
    restarts: Count = 16
    """Number of random starts for each λ_H."""
    rate: Positive = 0.1
    """Step size of gradient descent."""
    steps: Count = 300_000
    """Number of iterations of gradient descent."""
    out: Path = Path("results/multilayer_ufm")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
    """Seed of the data and of the random starts."""


PRESETS = {
    "default": Config(),
    "quick": Config(num_lambdas=25, steps=20_000, restarts=2, per_class=20, dimension=8),
    "digits": Config(
        data="digits",
        num_classes=10,
        per_class=30,
        rate=0.3,
        out=Path("results/multilayer_ufm/digits"),
    ),
}
CERTIFICATES = ("status", "objective", "gap", "residual", "spread")
CHUNK = 32


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    if config.data != "gaussian":
        require_data_set(config.data)


def inputs_of(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """X and its labels."""
    if config.data == "gaussian":
        size = (config.num_classes, config.per_class, config.dimension)
        return gaussian_classes(*size, config.sigma, config.seed)
    return balanced_pixels(config)


def price_of(config: Config, inputs: np.ndarray, labels: np.ndarray) -> Build:
    """The batched function of Fig. 5: from λ_H to the measures of the optimum and its layers."""

    def model(_: Mapping[str, Any], columns: Mapping[str, jax.Array]) -> Any:
        penalties = config.lambda_w, columns["lambda_h"]
        return nc.MultilayerUnconstrainedFeatures(
            inputs, labels, *penalties, num_layers=config.num_layers
        )

    def outputs(solution: Any) -> dict[str, jax.Array]:
        def measure(lane: jax.Array) -> dict[str, jax.Array]:
            one = solution.lane(lane)
            layers = one.layer_features()
            metrics = feedforward_metrics(layers, labels, config.num_classes)._asdict()
            line = nc.metrics.geodesic(inputs, layers[-1], labels, config.num_classes)
            own = {name: metrics[name][-1] for name in MEASURES}
            own |= {"alignment": one.alignment, "decreasing": line.decreasing}
            places = range(len(layers))
            return own | {f"{m} {i}": metrics[m][i] for m in MEASURES for i in places}

        return {
            **{name: getattr(solution, name) for name in CERTIFICATES},
            "restarts_at_best": solution.restarts_within(1e-9),
            **jax.lax.map(measure, jnp.arange(len(solution.status))),
        }

    return solved(model, outputs, lambda _: nc.EliminatedMultiStart(restarts=config.restarts))


def sweep_rows(
    config: Config, build: Build, name: str, prices: np.ndarray, bar: bool = False
) -> pd.DataFrame:
    """Fig. 5: the optimum at every λ_H, one row each."""
    return with_names(
        swept(config, build, [Block({}, Values("lambda_h", prices), CHUNK)], name, bar)
    )


def layer_rows(config: Config, sweep: pd.DataFrame) -> pd.DataFrame:
    """PFC1–PFC3 of every layer, at seven values of λ_H."""
    rows = []
    for lane in np.linspace(0, len(sweep) - 1, min(7, len(sweep))).astype(int):
        point = sweep.iloc[lane]
        for layer in range(config.num_layers + 1):
            place = {"lambda_h": point["lambda_h"], "layer": layer, "layers": config.num_layers}
            rows.append(place | {name: point[f"{name} {layer}"] for name in MEASURES})
    return pd.DataFrame(rows)


def least_price(config: Config, build: Build, sweep: pd.DataFrame, data: float) -> str:
    """λ_0: the smallest λ_H from which on NC1(H) < NC1(X), up to the largest one solved."""

    def holds(prices: np.ndarray) -> np.ndarray:
        inside = sweep_rows(config, build, f"from-{float(prices[0])!r}", prices)
        return np.asarray(inside["pfc1"]) < data

    found = bracket(sweep["lambda_h"], sweep["pfc1"] < data)
    if found.low == -np.inf:
        return f"below {found.high:.3g} (holds at every λ_H)"
    if found.high == np.inf:
        return f"above {found.low:.3g}"
    return f"{narrow(found, holds, inner=15, width=1e-6, logarithmic=True).high:.7g}"


def run(config: Config) -> Results:
    """The descent of both models, the optimum at every λ_H, and its layers at some of them."""
    inputs, labels = inputs_of(config)
    prices = np.geomspace(*config.lambda_range, config.num_lambdas)
    build = price_of(config, inputs, labels)
    sweep = sweep_rows(config, build, "prices", prices, bar=True)
    layers = [f"{name} {layer}" for name in MEASURES for layer in range(config.num_layers + 1)]
    solver = nc.GradientDescent(config.rate, config.steps)
    optimum = nc.EliminatedMultiStart(restarts=config.restarts)
    penalties, key = (config.lambda_w, config.lambda_h), jax.random.key(config.seed)
    rows = descent_rows(inputs, labels, *penalties, solver, optimum, key)
    descent = pd.DataFrame(rows)
    level = float(descent.loc[descent["kind"] == "data", "pfc1"].iloc[0])
    summary = summarise_collapse(descent, sweep, least_price(config, build, sweep, level))
    tables = {"table": sweep.drop(columns=layers), "layers": layer_rows(config, sweep)}
    title = f"Progressive collapse: {config.data} data, K = {config.num_classes}"
    title = f"{title}, n = {config.per_class}, d = {inputs.shape[1]}"
    return Results(tables | {"descent": descent}, {"table": summary}, [(title, summary)])


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Fig. 4, Fig. 5, and the intermediate layers."""
    return {
        "descent": draw_descent(tables["descent"]),
        "prices": draw_prices(tables["table"], tables["descent"]),
        "layers": draw_layers(tables["layers"]),
    }


if __name__ == "__main__":
    Study(PRESETS, check, run, draw).command(__doc__)
