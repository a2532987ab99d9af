"""Does neural collapse grow along the straight line from the data to the last layer?

Theorems 1 and 2 of Wang, Gai, Zhang (2024) on thousands of lines with random end points:
each line leads from data X in classes to a collapsed last layer H. The simplex ETF of H is
rotated at random, from aligned with the class means of the data to opposed to them.
Theorem 1, exactly: PFC1 decreases along the whole line if and only if C ≥ 0, where C is the
mean inner product of the centred class means of X and of H; a small transport cost
‖H − X‖²/N implies this. Theorem 2: PFC2 decreases near the end; t* is where the decrease
begins. Every metric is measured on the features themselves and compared with the prediction.

    python studies/geodesic.py
    python studies/geodesic.py --within 0.5
    python studies/geodesic.py --data digits --num-classes 10 --num-ends 500

Time on two CPU cores: 10 s.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax import report
from nc_jax.campaigns import balanced_pixels, require_data_set
from nc_jax.metrics import measure_line, random_last_layer
from nc_jax.report import Bounds, Count, NonNegative
from nc_jax.report.geodesics import draw_geodesics
from nc_jax.study import Results, Study


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    data: str = "gaussian"
    """X: gaussian for Gaussian classes, drawn anew for every line, or pixels of mean square
    length one of a data set: digits, mnist, fashion_mnist, cifar10, cifar100, stl10, or a .npz
    archive of train_images, train_labels, test_images and test_labels."""
    data_dir: Path | None = None
    """Folder of the image data; by default the value of $NC_JAX_DATA."""
    num_ends: Count = 4000
    """Number of lines, each with its own random end point."""
    num_classes: Annotated[int, Bounds(least=2, most=1000)] = 4
    """K, the number of classes."""
    per_class: Count = 20
    """n, the number of samples in each class."""
    dimension: int = 20
    """d, the dimension of Gaussian classes; pixels have their own dimension."""
    sigma: NonNegative[float] = 0.3
    """σ, the standard deviation of Gaussian classes; their means lie on the unit sphere."""
    within: Annotated[float, Bounds(least=0, most=1)] = 0.0
    """Share of the within-class deviations of X that the last layer keeps; 0 is full collapse."""
    lengths: tuple[float, float] = (0.3, 3.0)
    """Range of the length of the last layer's class means, relative to those of the data."""
    num_positions: Annotated[int, Bounds(least=3)] = 101
    """Number of equal steps of t from 0 to 1 at which the metrics are measured."""
    out: Path = Path("results/geodesic")
    """Folder in which the results are written."""
    seed: NonNegative[int] = 0
    """Seed of the random end points."""


PRESETS = {
    "default": Config(),
    "quick": Config(num_ends=200, per_class=5, dimension=8, num_positions=41),
    "digits": Config(
        data="digits", num_classes=10, num_ends=500, out=Path("results/geodesic/digits")
    ),
}
CHUNK = 100
# PFC1 is also measured here, so that a rise right at the start does not go unnoticed.
FIRST_POSITIONS = (1e-6, 1e-5, 1e-4, 1e-3)
SHOWN = 6


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    low, high = config.lengths
    if not 0 < low <= high < np.inf:
        raise ValueError(f"--lengths must be 0 < low ≤ high, got {low} {high}")
    if config.data == "gaussian":
        # Their means form a simplex ETF.
        report.require_numbers(config, "dimension", least=config.num_classes - 1)
    else:
        require_data_set(config.data)


def positions_of(config: Config) -> np.ndarray:
    """The t at which the metrics are measured, from 0 to 1."""
    return np.unique([*FIRST_POSITIONS, *np.linspace(0, 1, config.num_positions)])


def inputs_of(config: Config) -> np.ndarray | None:
    """Pixels [N, d]; None for Gaussian classes, because every line draws its own."""
    if config.data == "gaussian":
        return None
    return balanced_pixels(config)[0]


def line_rows(
    config: Config, keys: jax.Array, pixels: np.ndarray | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """One row for each line, and curves [lines, positions, (predicted, PFC1, PFC2, PFC3)]."""
    size, positions = config.num_classes, positions_of(config)
    labels = np.repeat(np.arange(size), config.per_class)
    ends = size, config.lengths, config.within

    def measure(key: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        first, second = jax.random.split(key)
        inputs = gaussian(config, first, labels) if pixels is None else jnp.asarray(pixels)
        last = random_last_layer(second, inputs, labels, *ends)
        return measure_line(inputs, last, labels, size, positions)

    compiled = jax.jit(lambda keys: jax.lax.map(measure, keys, batch_size=10))

    def measured(start: int) -> tuple[pd.DataFrame, np.ndarray]:
        part, curve = compiled(keys[start : start + CHUNK])
        rows = {name: np.asarray(value) for name, value in part.items()}
        return pd.DataFrame(rows), np.asarray(curve)

    starts = range(0, len(keys), CHUNK)
    rows, curves = zip(
        *report.map_with_bar(measured, starts, f"lines, {CHUNK} at a time"), strict=True
    )
    return pd.concat(rows, ignore_index=True), np.concatenate(curves)


def gaussian(config: Config, key: jax.Array, labels: np.ndarray) -> jax.Array:
    """Gaussian classes [N, d] with random means on the unit sphere."""
    means = jax.random.normal(key, (config.num_classes, config.dimension))
    means = means / jnp.linalg.norm(means, axis=-1, keepdims=True)
    noise = jax.random.normal(jax.random.fold_in(key, 1), (len(labels), config.dimension))
    return means[labels] + config.sigma * noise


def shown_curves(table: pd.DataFrame, curves: np.ndarray, positions: np.ndarray) -> pd.DataFrame:
    """Curves of a few lines, from the most aligned means to the most opposed."""
    order = np.argsort(-np.asarray(table["means_alignment"]))
    picks = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)]
    rows = []
    for pick in picks:
        part = pd.DataFrame(curves[pick], columns=["predicted", "pfc1", "pfc2", "pfc3"])
        part.insert(0, "t", positions)
        part.insert(0, "means_alignment", table["means_alignment"][pick])
        part.insert(0, "peak", table["predicted_peak"][pick])
        part.insert(0, "line", pick)
        rows.append(part)
    return pd.concat(rows, ignore_index=True)


def summary_rows(config: Config, table: pd.DataFrame) -> pd.DataFrame:
    """Shares of monotone lines by the sign of C, and where Theorem 2 holds."""
    rows = []
    groups = {
        "all": np.ones(len(table), bool),
        "C ≥ 0": np.asarray(table["C"] >= 0),
        "C < 0": np.asarray(table["C"] < 0),
    }
    for low, high in ((0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)):
        cost = np.asarray(table["relative_cost"])
        groups[f"cost from {low} to {high}"] = (cost >= low) & (cost < high)
    for name, chosen in groups.items():
        part = table.loc[chosen]
        if not len(part):
            continue
        begins = np.asarray(part["pfc2_falls_from"])
        agree = part["pfc1_falling"] == part["predicted_falling"]
        rows.append(
            {
                "lines": name,
                "number of lines": str(len(part)),
                "PFC1 decreases (share)": f"{part['pfc1_falling'].mean():.4f}",
                "as predicted (share)": f"{agree.mean():.4f}",
                "largest prediction error": f"{part['prediction_error'].max():.1e}",
                "PFC2 decreases (share)": f"{part['pfc2_falling'].mean():.4f}",
                "median t*": f"{np.median(begins):.3f}",
                "largest t*": f"{begins.max():.3f}",
                "PFC3 increases (share)": f"{part['pfc3_rising'].mean():.4f}",
            }
        )
    if config.within == 0:
        matches = np.mean(table["pfc1_falling"] == (table["C"] >= 0))
        name = "PFC1 decreases exactly where C ≥ 0"
        rows.append({"lines": name, "as predicted (share)": f"{matches:.4f}"})
    return pd.DataFrame(rows).fillna("")


def run(config: Config) -> Results:
    """All lines, and the curves of a few."""
    keys = jax.random.split(jax.random.key(config.seed), config.num_ends)
    table, curves = line_rows(config, keys, inputs_of(config))
    summary = summary_rows(config, table)
    title = f"Straight lines from {config.data} data, K = {config.num_classes}"
    tables = {"table": table, "curves": shown_curves(table, curves, positions_of(config))}
    shown = [(f"{title}, n = {config.per_class}", summary)]
    return Results(tables, {"table": summary}, shown)


def draw(_: Config, tables: Mapping[str, pd.DataFrame]) -> dict[str, Figure]:
    """Both theorems: shares of lines, measured and predicted curves, and t*."""
    return {"lines": draw_geodesics(tables["table"], tables["curves"])}


if __name__ == "__main__":
    Study(PRESETS, check, run, draw, every_core=False).command(__doc__)
