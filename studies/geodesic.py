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
import time
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.datasets import balanced_features, load_images
from nc_jax.metrics import decreases, feedforward_metrics, geodesic


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    data: Literal["gaussian", "digits", "mnist", "fashion_mnist", "cifar10"] = "gaussian"
    """X: Gaussian classes, drawn anew for every line, or pixels of mean square length one."""
    data_dir: Path | None = None
    """Folder of the image data; by default the value of $NC_JAX_DATA."""
    num_ends: int = 4000
    """Number of lines, each with its own random end point."""
    num_classes: int = 4
    """K, the number of classes."""
    per_class: int = 20
    """n, the number of samples in each class."""
    dimension: int = 20
    """d, the dimension of Gaussian classes; pixels have their own dimension."""
    sigma: float = 0.3
    """σ, the standard deviation of Gaussian classes; their means lie on the unit sphere."""
    within: float = 0.0
    """Share of the within-class deviations of X that the last layer keeps; 0 is full collapse."""
    lengths: tuple[float, float] = (0.3, 3.0)
    """Range of the length of the last layer's class means, relative to those of the data."""
    num_positions: int = 101
    """Number of equal steps of t from 0 to 1 at which the metrics are measured."""
    out: Path = Path("results/geodesic")
    """Folder in which the results are written."""
    seed: int = 0
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
    report.require_numbers(config, "num_ends", "per_class", least=1)
    report.require_numbers(config, "num_classes", least=2, most=1000)
    report.require_numbers(config, "num_positions", least=3)
    report.require_numbers(config, "sigma", "seed", least=0)
    report.require_numbers(config, "within", least=0, most=1)
    low, high = config.lengths
    if not 0 < low <= high < np.inf:
        raise ValueError(f"--lengths must be 0 < low ≤ high, got {low} {high}")
    if config.data == "gaussian":
        # Their means form a simplex ETF.
        report.require_numbers(config, "dimension", least=config.num_classes - 1)


def positions_of(config: Config) -> np.ndarray:
    """The t at which the metrics are measured, from 0 to 1."""
    return np.unique([*FIRST_POSITIONS, *np.linspace(0, 1, config.num_positions)])


def inputs_of(config: Config) -> np.ndarray | None:
    """Pixels [N, d]; None for Gaussian classes, because every line draws its own."""
    if config.data == "gaussian":
        return None
    images = load_images(config.data, data_dir=config.data_dir)
    sizes = np.bincount(images.labels)
    report.require_numbers(config, "num_classes", most=len(sizes))
    report.require_numbers(config, "per_class", most=int(sizes[: config.num_classes].min()))
    return balanced_features(images, config.num_classes, config.per_class, config.seed)[0]


def frame(matrix: jax.Array, size: int) -> jax.Array:
    """The simplex ETF [K, d], of mean square row length one, closest to K centred rows."""
    left, _, right = jnp.linalg.svd(matrix, full_matrices=False)
    keep = size - 1
    return jnp.matmul(left[:, :keep], right[:keep]) * (size / keep) ** 0.5


def random_end(config: Config, key: jax.Array, inputs: jax.Array, labels: np.ndarray) -> jax.Array:
    """A last layer [N, d] with a simplex ETF as its class means."""
    size = config.num_classes
    keys = jax.random.split(key, 4)
    moments = nc.metrics.class_moments(inputs, labels, size)
    middle = jnp.mean(moments.means, axis=0)
    centred = moments.means - middle
    along = frame(centred, size)
    noise = jax.random.normal(keys[0], centred.shape, centred.dtype)
    other = frame(noise - jnp.mean(noise, axis=0), size)
    # Goes from the data's class means over a random frame to the opposite of the means.
    angle = jnp.pi * jax.random.uniform(keys[1], (), centred.dtype)
    turned = frame(jnp.cos(angle) * along + jnp.sin(angle) * other, size)
    low, high = np.log(config.lengths)
    length = jnp.exp(jax.random.uniform(keys[2], (), centred.dtype, low, high))
    length = length * jnp.sqrt(jnp.mean(jnp.sum(centred**2, axis=-1)))
    moved = middle * jax.random.uniform(keys[3], (), centred.dtype)
    deviations = inputs - moments.means[labels]
    return moved + length * turned[labels] + config.within * deviations


def settled_from(values: jax.Array, positions: np.ndarray) -> jax.Array:
    """The smallest t from which on a measure [positions] decreases at every step."""
    rises = values[1:] > values[:-1]
    last = rises.shape[0] - jnp.argmax(rises[::-1])
    return jnp.where(jnp.any(rises), jnp.asarray(positions)[last], 0.0)


def line_rows(
    config: Config, keys: jax.Array, pixels: np.ndarray | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """One row for each line, and curves [lines, positions, (predicted, PFC1, PFC2, PFC3)]."""
    size, positions = config.num_classes, positions_of(config)
    labels = np.repeat(np.arange(size), config.per_class)

    def measure(key: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        first, second = jax.random.split(key)
        if pixels is None:
            shape = (len(labels), config.dimension)
            means = jax.random.normal(first, (size, config.dimension))
            means = means / jnp.linalg.norm(means, axis=-1, keepdims=True)
            noise = jax.random.normal(jax.random.fold_in(first, 1), shape)
            inputs = means[labels] + config.sigma * noise
        else:
            inputs = jnp.asarray(pixels)
        last = random_end(config, second, inputs, labels)
        line = geodesic(inputs, last, labels, size)

        def at(t: jax.Array) -> tuple[jax.Array, ...]:
            measured = feedforward_metrics([inputs + t * (last - inputs)], labels, size)
            return tuple(value[0] for value in measured)

        pfc1, pfc2, pfc3 = jax.vmap(at)(jnp.asarray(positions))
        predicted = line.pfc1(positions)
        squares = jnp.sum(inputs**2) + jnp.sum(last**2)
        cost = jnp.sum((last - inputs) ** 2)
        row = {
            "transport_cost": cost / len(labels),
            "relative_cost": cost / squares,
            "C": line.between_cross,
            "means_alignment": line.between_cross
            / jnp.sqrt(line.between_first * line.between_last),
            "predicted_falling": line.decreasing,
            "pfc1_falling": decreases(pfc1),
            "predicted_peak": line.peak,
            "pfc1_peak": jnp.asarray(positions)[jnp.argmax(pfc1)],
            "prediction_error": jnp.max(jnp.abs(predicted - pfc1)) / pfc1[0],
            "pfc2_falling": decreases(pfc2),
            "pfc2_falls_from": settled_from(pfc2, positions),
            "pfc3_rising": decreases(1 - pfc3),
            "pfc3_rises_from": settled_from(1 - pfc3, positions),
        }
        return row, jnp.stack([predicted, pfc1, pfc2, pfc3], axis=-1)

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


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Shares against cost; measured and predicted PFC1; PFC2; where PFC2 starts to decrease."""
    figure, axes = report.new_figure(1, 4, 13, 3.4, share_x=False, share_y=False)
    draw_shares(axes[0, 0], table)
    for color, (_, part) in zip(report.PALETTE, curves.groupby("line", sort=False), strict=False):
        thin = part.iloc[:: max(len(part) // 20, 1)]
        start = part["pfc1"].iloc[0]
        label = f"cosine of the class means {part['means_alignment'].iloc[0]:+.2f}"
        axes[0, 1].plot(part["t"], part["predicted"] / start, color=color, label=label)
        axes[0, 1].plot(thin["t"], thin["pfc1"] / start, ".", color=color, markersize=4)
        if part["peak"].iloc[0] > 0:
            axes[0, 1].axvline(part["peak"].iloc[0], color=color, linestyle=":", linewidth=0.8)
        axes[0, 2].plot(part["t"], part["pfc2"], color=color)
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylim(bottom=1e-3)
    axes[0, 1].set_title("PFC1(t)/PFC1(0); dots: measured")
    axes[0, 2].set_title("PFC2(t), distance to the ETF")
    for panel in (axes[0, 1], axes[0, 2]):
        panel.set_xlabel("position t on the line (1: last layer)")
    panel = axes[0, 3]
    panel.plot(
        table["means_alignment"],
        table["pfc2_falls_from"],
        ".",
        markersize=2,
        color=report.PALETTE[5],
        rasterized=True,
    )
    panel.set_xlabel("cosine of the class means of X and H")
    panel.set_title("t* from which PFC2 decreases (Theorem 2)")
    report.legend_outside(figure, axes[0, 1], columns=3)
    return figure


def draw_shares(panel: Axes, table: pd.DataFrame) -> None:
    """The share of lines on which PFC1 decreases against transport cost, by the sign of C."""
    edges = np.linspace(0, 2, 21)
    bins = np.clip(np.digitize(np.asarray(table["relative_cost"]), edges) - 1, 0, 19)
    middles = (edges[1:] + edges[:-1]) / 2
    kinds = {
        "all lines": (np.ones(len(table), bool), "-o", report.PALETTE[6]),
        "C ≥ 0": (np.asarray(table["C"] >= 0), "^", report.PALETTE[0]),
        "C < 0": (np.asarray(table["C"] < 0), "v", report.PALETTE[1]),
    }
    falling = np.asarray(table["pfc1_falling"], float)
    for name, (chosen, style, color) in kinds.items():
        number = np.bincount(bins[chosen], minlength=20)
        falls = np.bincount(bins[chosen], falling[chosen], minlength=20)
        seen = number > 0
        share = falls[seen] / number[seen]
        panel.plot(middles[seen], share, style, color=color, label=name, markersize=4)
    panel.set_xlabel(r"transport cost $\|H-X\|^2/(\|H\|^2+\|X\|^2)$")
    panel.set_title("share of lines on which PFC1 decreases")
    panel.set_ylim(-0.05, 1.05)
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)


def main(config: Config) -> None:
    """Runs the study, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    jax.config.update("jax_enable_x64", True)
    keys = jax.random.split(jax.random.key(config.seed), config.num_ends)
    table, curves = line_rows(config, keys, inputs_of(config))
    report.write_table(table, config.out)
    report.write_table(shown_curves(table, curves, positions_of(config)), config.out, "curves")
    summary = summary_rows(config, table)
    report.write_summary(summary, config.out)
    stored = [report.read_table(config.out, name) for name in ("table", "curves")]
    report.save_figure(draw(*stored), config.out, "lines")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    title = f"Straight lines from {config.data} data, K = {config.num_classes}"
    report.print_table(summary, f"{title}, n = {config.per_class}")
    print(f"{wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
