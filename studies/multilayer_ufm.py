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
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import nc_jax as nc
from nc_jax import report
from nc_jax.datasets import balanced_features, gaussian_classes, load_images
from nc_jax.metrics import FeedforwardMetrics, feedforward_metrics
from nc_jax.sweeps import Batched, Block, Build, Values, forget, tabulate, use_every_core


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of this study."""

    data: Literal["gaussian", "digits", "mnist", "fashion_mnist", "cifar10"] = "gaussian"
    """The inputs X: Gaussian classes, or pixels scaled to a mean square length of one."""
    data_dir: Path | None = None
    """Folder of the image data; by default the value of $NC_JAX_DATA."""
    num_classes: int = 4
    """K, the number of classes."""
    per_class: int = 50
    """n, the number of samples in each class."""
    dimension: int = 20
    """d, the dimension of Gaussian classes; pixels have their own dimension."""
    sigma: float = 0.3
    """σ, the standard deviation of Gaussian classes; their means lie on the unit sphere."""
    lambda_w: float = 5e-3
    """λ_W, the weight decay of the classifiers."""
    lambda_h: float = 0.1
    """λ_H, the penalty on moving features, in Fig. 4."""
    lambda_range: tuple[float, float] = (1e-6, 1e3)
    """Smallest and largest λ_H in Fig. 5."""
    num_lambdas: int = 241
    """Number of values of λ_H in Fig. 5."""
    num_layers: int = 12
    """L, the number of layers in the third figure."""
    restarts: int = 16
    """Number of random starts for each λ_H."""
    rate: float = 0.1
    """Step size of gradient descent."""
    steps: int = 300_000
    """Number of iterations of gradient descent."""
    out: Path = Path("results/multilayer_ufm")
    """Folder in which the results are written."""
    seed: int = 0
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
MEASURES = ("pfc1", "pfc2", "pfc3")
CERTIFICATES = ("status", "objective", "gap", "residual", "spread")
PARTS = "parts"
CHUNK = 32
LABELS = {
    "pfc1": r"PFC1 = tr $\Sigma_W$ / tr $\Sigma_B$",
    "pfc2": "PFC2, distance to the ETF",
    "pfc3": "1 − PFC3, nearest-centre error",
}


def check(config: Config) -> None:
    """Raises ValueError that names the invalid option."""
    report.require_range(config, "lambda_range")
    report.require_numbers(config, "lambda_w", "lambda_h", "rate", above=0)
    report.require_numbers(config, "num_classes", "num_lambdas", least=2)
    counts = ("per_class", "dimension", "num_layers", "restarts", "steps")
    report.require_numbers(config, *counts, least=1)
    report.require_numbers(config, "sigma", "seed", least=0)


def inputs_of(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """X and its labels."""
    if config.data == "gaussian":
        size = (config.num_classes, config.per_class, config.dimension)
        return gaussian_classes(*size, config.sigma, config.seed)
    images = load_images(config.data, data_dir=config.data_dir)
    sizes = np.bincount(images.labels)
    report.require_numbers(config, "num_classes", most=len(sizes))
    report.require_numbers(config, "per_class", most=int(sizes[: config.num_classes].min()))
    return balanced_features(images, config.num_classes, config.per_class, config.seed)


def metric_columns(metrics: FeedforwardMetrics, place: int) -> dict[str, float]:
    """PFC1–PFC3 of one layer as columns of a row."""
    return {name: float(getattr(metrics, name)[place]) for name in MEASURES}


def descent_rows(config: Config, inputs: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Fig. 4: both models over the iterations and at their optimum, and the data."""
    size = config.num_classes
    solver = nc.GradientDescent(config.rate, config.steps)
    key = jax.random.key(config.seed)
    # The unconstrained features have the penalty λ_H/N per sample, as in the multilayer model.
    free = nc.UnconstrainedFeatures(
        [float(config.per_class)] * size,
        config.lambda_w,
        config.lambda_h / len(inputs),
        loss=nc.MeanSquaredError(),
        dimension=max(inputs.shape[1], size),
        samples=config.per_class,
    )
    moving = nc.MultilayerUnconstrainedFeatures(inputs, labels, config.lambda_w, config.lambda_h)
    optimum = nc.solve(moving, nc.EliminatedMultiStart(restarts=config.restarts), key)
    certified = nc.solve(free)
    ends = {"UFM": certified.features[labels], "MUFM": optimum.sample_features}
    values = {"UFM": float(certified.objective), "MUFM": float(optimum.objective)}
    data = feedforward_metrics([inputs], labels, size)
    rows = [{"model": "data", "iteration": 0, "kind": "data", **metric_columns(data, 0)}]
    for name, model in (("UFM", free), ("MUFM", moving)):
        path = jax.jit(solver)(model, key)
        states = list(np.asarray(path.features))
        metrics = feedforward_metrics([*states, ends[name]], labels, size)
        for place, iteration in enumerate(np.asarray(path.iterations)):
            row = {"model": name, "iteration": int(iteration), "kind": "descent"}
            row["objective"] = float(path.objectives[place])
            rows.append(row | metric_columns(metrics, place))
        row = {"model": name, "kind": "optimum", "objective": values[name]}
        rows.append(row | metric_columns(metrics, -1))
    return pd.DataFrame(rows)


def price_of(config: Config, inputs: np.ndarray, labels: np.ndarray) -> Build:
    """The batched function of Fig. 5: from λ_H to the measures of the optimum and its layers."""
    solver = nc.EliminatedMultiStart(restarts=config.restarts)

    def build(_: Mapping[str, Any]) -> Batched:
        def solve(columns: dict[str, jax.Array], keys: jax.Array) -> dict[str, jax.Array]:
            prices = columns["lambda_h"]
            model = nc.MultilayerUnconstrainedFeatures(
                inputs, labels, config.lambda_w, prices, num_layers=config.num_layers
            )
            solution = nc.solve_batch(model, solver, keys)

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
                **jax.lax.map(measure, jnp.arange(len(prices))),
            }

        return solve

    return build


def sweep_rows(
    config: Config, build: Build, name: str, prices: np.ndarray, progress: Any = None
) -> pd.DataFrame:
    """Fig. 5: the optimum at every λ_H, one row each."""
    settings = str(dataclasses.replace(config, out=Path()))
    blocks = [Block({}, Values("lambda_h", prices), CHUNK)]
    table = tabulate(build, blocks, config.out / PARTS / name, settings, config.seed, progress)
    return table.assign(status=[nc.Status(code).name.lower() for code in table["status"]])


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
    prices, holds = np.asarray(sweep["lambda_h"]), np.asarray(sweep["pfc1"]) < data
    if holds.all():
        return f"below {prices[0]:.3g} (holds at every λ_H)"
    last = int(np.flatnonzero(~holds)[-1])
    if last == len(prices) - 1:
        return f"above {prices[-1]:.3g}"
    low, high = prices[last], prices[last + 1]
    while high / low > 1 + 1e-6:
        finer = np.geomspace(low, high, 17)
        inside = sweep_rows(config, build, f"from-{low!r}", finer)
        last = int(np.flatnonzero(~(np.asarray(inside["pfc1"])[:-1] < data))[-1])
        low, high = finer[last], finer[last + 1]
    return f"{high:.7g}"


def ordered_from(descent: pd.DataFrame, name: str) -> str:
    """The iteration from which on UFM ≤ MUFM ≤ data for one measure, until the last one."""
    paths = descent[descent["kind"] == "descent"].pivot(index="iteration", columns="model")[name]
    data = float(descent.loc[descent["kind"] == "data", name].iloc[0])
    better = (lambda a, b: a >= b) if name == "pfc3" else (lambda a, b: a <= b)
    holds = better(paths["UFM"], paths["MUFM"]) & better(paths["MUFM"], data)
    if not holds.iloc[-1]:
        return "never"
    wrong = np.flatnonzero(~holds)
    return str(int(np.asarray(paths.index)[wrong[-1] + 1 if len(wrong) else 0]))


def between(levels: dict[str, Any], name: str) -> str:
    """Whether one measure of the multilayer optimum lies between the data's and the UFM's."""
    free, moving, data = (shown(levels[kind][name], name) for kind in ("UFM", "MUFM", "data"))
    return "yes" if free <= moving <= data else "no"


def summary_rows(descent: pd.DataFrame, sweep: pd.DataFrame, least: str) -> pd.DataFrame:
    """The statements that the figures show, in numbers."""
    rows = []
    ends = descent.drop_duplicates(["model", "kind"], keep="last")
    for row in ends.to_dict("records"):
        name = "the data" if row["kind"] == "data" else f"{row['model']}, {row['kind']}"
        rows.append({"what": name, **{m: row[m] for m in MEASURES}, "objective": row["objective"]})
    order = {m: ordered_from(descent, m) for m in MEASURES}
    rows.append({"what": "UFM ≤ MUFM ≤ data from iteration", **order})
    levels = {row["model"]: row for row in ends.to_dict("records") if row["kind"] != "descent"}
    holds = {m: between(levels, m) for m in MEASURES}
    rows.append({"what": "UFM ≤ MUFM ≤ data at the optimum", **holds})
    ends = zip(sweep.iloc[[0, -1]].to_dict("records"), ("smallest", "largest"), strict=True)
    for row, name in ends:
        what = f"at the {name} λ_H = {row['lambda_h']:.3g}, alignment {row['alignment']:.6f}"
        rows.append({"what": what, **{m: row[m] for m in MEASURES}, "objective": row["objective"]})
    certified = np.count_nonzero(sweep["status"] == "converged")
    worst = sweep["residual"].max()
    rows.append({"what": f"λ_0: NC1(H) < NC1(X) from λ_H on: {least}"})
    rows.append(
        {
            "what": f"{certified} of {len(sweep)} optima certified by duality; residual of all "
            f"≤ {worst:.1e}; spread of restarts ≤ {sweep['spread'].max():.1e}"
        }
    )
    falling = np.count_nonzero(sweep["decreasing"])
    rows.append({"what": f"PFC1 decreases through all layers at {falling} of {len(sweep)} λ_H"})
    table = pd.DataFrame(rows)
    for name in (*MEASURES, "objective"):
        table[name] = [
            "" if pd.isna(v) else v if isinstance(v, str) else f"{v:.6g}" for v in table[name]
        ]
    return table


def shown(values: Any, name: str) -> np.ndarray:
    """The values shown on an axis: the error instead of the accuracy."""
    numbers = np.asarray(values, float)
    return 1 - numbers if name == "pfc3" else numbers


def draw_descent(descent: pd.DataFrame) -> Figure:
    """Fig. 4."""
    figure, axes = report.new_figure(1, 3, 9.5, 3.2, share_y=False)
    data = descent[descent["kind"] == "data"].iloc[0]
    for place, name in enumerate(MEASURES):
        panel = axes[0, place]
        for color, model in zip(report.PALETTE, ("UFM", "MUFM"), strict=False):
            part = descent[descent["model"] == model]
            path = part[part["kind"] == "descent"]
            iterations = np.maximum(np.asarray(path["iteration"]), 0.5)
            panel.plot(iterations, shown(path[name], name), color=color, label=f"{model}, descent")
            level = float(shown(part[part["kind"] == "optimum"][name], name)[0])
            panel.axhline(level, color=color, linestyle=":", label=f"{model}, optimum")
        panel.axhline(float(shown(data[name], name)), color="0.5", linestyle="--", label="data")
        panel.set_xscale("log")
        if name == "pfc1":
            # The unconstrained optimum is collapsed: its value, zero, has no logarithm.
            panel.set_yscale("symlog", linthresh=1e-6)
            panel.set_ylim(bottom=0)
        panel.set_xlabel("iteration (the start is drawn at 0.5)")
        panel.set_title(LABELS[name])
    axes[0, 0].set_ylabel("measure of the last layer")
    report.legend_outside(figure, axes[0, 0], columns=5)
    return figure


def draw_sweep(sweep: pd.DataFrame, descent: pd.DataFrame) -> Figure:
    """Fig. 5."""
    figure, axes = report.new_figure(1, 4, 12, 3.2, share_y=False)
    data = descent[descent["kind"] == "data"].iloc[0]
    certified = sweep["status"] == "converged"
    for place, name in enumerate((*MEASURES, "alignment")):
        panel = axes[0, place]
        values = shown(sweep[name], name)
        panel.plot(sweep["lambda_h"], values, color=report.PALETTE[0], label="MUFM, optimum")
        panel.plot(
            sweep["lambda_h"][certified],
            values[certified],
            linestyle="none",
            marker="o",
            markersize=2.5,
            color=report.PALETTE[2],
            label="certified by duality",
        )
        level = 1.0 if name == "alignment" else float(shown(data[name], name))
        panel.axhline(level, color="0.5", linestyle="--", label="data")
        panel.set_xscale("log")
        if name == "pfc1":
            panel.set_yscale("log")
        panel.set_xlabel(r"penalty $\lambda_H$ on moving features")
        panel.set_title(LABELS.get(name, "alignment of H with the data"))
    axes[0, 0].set_ylabel("measure of the last layer")
    report.legend_outside(figure, axes[0, 0], columns=3)
    return figure


def draw_layers(layers: pd.DataFrame) -> Figure:
    """PFC1–PFC3 over the layers."""
    figure, axes = report.new_figure(1, 3, 9.5, 3.4, share_y=False)
    groups = list(layers.groupby("lambda_h"))
    for color, (price, part) in zip(report.PALETTE, groups, strict=False):
        for place, name in enumerate(MEASURES):
            panel = axes[0, place]
            label = rf"$\lambda_H$ = {price:.2g}"
            panel.plot(part["layer"], shown(part[name], name), marker=".", color=color, label=label)
            panel.set_xlabel("layer (0: the data)")
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set_title(LABELS[name])
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel("measure of each layer")
    report.legend_outside(figure, axes[0, 0], columns=4)
    return figure


def main(config: Config) -> None:
    """Runs the study, stores the tables, and draws the figures from the stored tables."""
    start = time.perf_counter()
    check(config)
    report.prepare_folder(config.out)
    use_every_core()
    jax.config.update("jax_enable_x64", True)
    inputs, labels = inputs_of(config)
    prices = np.geomspace(*config.lambda_range, config.num_lambdas)
    build = price_of(config, inputs, labels)
    with report.points_bar(len(prices)) as progress:
        sweep = sweep_rows(config, build, "prices", prices, progress)
    layers = [f"{name} {layer}" for name in MEASURES for layer in range(config.num_layers + 1)]
    report.write_table(sweep.drop(columns=layers), config.out)
    report.write_table(layer_rows(config, sweep), config.out, "layers")
    descent = descent_rows(config, inputs, labels)
    report.write_table(descent, config.out, "descent")
    level = float(descent.loc[descent["kind"] == "data", "pfc1"].iloc[0])
    summary = summary_rows(descent, sweep, least_price(config, build, sweep, level))
    report.write_summary(summary, config.out)
    stored = {name: report.read_table(config.out, name) for name in ("table", "layers", "descent")}
    report.save_figure(draw_descent(stored["descent"]), config.out, "descent")
    report.save_figure(draw_sweep(stored["table"], stored["descent"]), config.out, "prices")
    report.save_figure(draw_layers(stored["layers"]), config.out, "layers")
    wall_time = time.perf_counter() - start
    report.write_provenance(config.out, config, wall_time)
    forget(config.out / PARTS)
    title = f"Progressive collapse: {config.data} data, K = {config.num_classes}"
    report.print_table(summary, f"{title}, n = {config.per_class}, d = {inputs.shape[1]}")
    print(f"{wall_time:.1f} s; results in {config.out}/")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "")
