"""Progressive feedforward collapse of the multilayer model, over steps, λ_H and layers."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure
from nc_jax.theory import bracket

MEASURES = ("pfc1", "pfc2", "pfc3")
LABELS = {
    "pfc1": r"PFC1 = tr $\Sigma_W$ / tr $\Sigma_B$",
    "pfc2": "PFC2, distance to the ETF",
    "pfc3": "1 − PFC3, nearest-centre error",
}


def summarise_collapse(descent: pd.DataFrame, sweep: pd.DataFrame, least: str) -> pd.DataFrame:
    """The statements that the figures show, in numbers.

    Args:
        descent: see :func:`nc_jax.experiments.descent_rows`.
        sweep: rows of optima with ``lambda_h`` increasing, the measures, ``objective``,
            ``alignment``, ``decreasing``, ``status``, ``residual`` and ``spread``.
        least: the smallest λ_H from which on NC1(H) < NC1(X), as text.
    """
    rows = []
    ends = descent.drop_duplicates(["model", "kind"], keep="last")
    for row in ends.to_dict("records"):
        name = "the data" if row["kind"] == "data" else f"{row['model']}, {row['kind']}"
        rows.append({"what": name, **{m: row[m] for m in MEASURES}, "objective": row["objective"]})
    order = {m: _ordered_from(descent, m) for m in MEASURES}
    rows.append({"what": "UFM ≤ MUFM ≤ data from iteration", **order})
    levels = {row["model"]: row for row in ends.to_dict("records") if row["kind"] != "descent"}
    holds = {m: _between(levels, m) for m in MEASURES}
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


def _ordered_from(descent: pd.DataFrame, name: str) -> str:
    """The iteration from which on UFM ≤ MUFM ≤ data for one measure, until the last one."""
    paths = descent[descent["kind"] == "descent"].pivot(index="iteration", columns="model")[name]
    data = float(descent.loc[descent["kind"] == "data", name].iloc[0])
    better = (lambda a, b: a >= b) if name == "pfc3" else (lambda a, b: a <= b)
    holds = better(paths["UFM"], paths["MUFM"]) & better(paths["MUFM"], data)
    first = bracket(paths.index, holds).high
    return "never" if first == np.inf else str(int(first))


def _between(levels: dict[str, Any], name: str) -> str:
    """Whether one measure of the multilayer optimum lies between the data's and the UFM's."""
    free, moving, data = (shown(levels[kind][name], name) for kind in ("UFM", "MUFM", "data"))
    return "yes" if free <= moving <= data else "no"


def shown(values: Any, name: str) -> np.ndarray:
    """The values shown on an axis: the error instead of the accuracy."""
    numbers = np.asarray(values, float)
    return 1 - numbers if name == "pfc3" else numbers


def draw_descent(descent: pd.DataFrame) -> Figure:
    """Measures over the iterations of gradient descent, beside the optimum and the data."""
    figure, axes = new_figure(1, 3, 9.5, 3.2, share_y=False)
    data = descent[descent["kind"] == "data"].iloc[0]
    for place, name in enumerate(MEASURES):
        panel = axes[0, place]
        for color, model in zip(PALETTE, ("UFM", "MUFM"), strict=False):
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
    legend_outside(figure, axes[0, 0], columns=5)
    return figure


def draw_prices(sweep: pd.DataFrame, descent: pd.DataFrame) -> Figure:
    """Measures of the optimum against the penalty on moving features."""
    figure, axes = new_figure(1, 4, 12, 3.2, share_y=False)
    data = descent[descent["kind"] == "data"].iloc[0]
    certified = sweep["status"] == "converged"
    for place, name in enumerate((*MEASURES, "alignment")):
        panel = axes[0, place]
        values = shown(sweep[name], name)
        panel.plot(sweep["lambda_h"], values, color=PALETTE[0], label="MUFM, optimum")
        panel.plot(
            sweep["lambda_h"][certified],
            values[certified],
            linestyle="none",
            marker="o",
            markersize=2.5,
            color=PALETTE[2],
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
    legend_outside(figure, axes[0, 0], columns=3)
    return figure


def draw_layers(layers: pd.DataFrame) -> Figure:
    """PFC1–PFC3 over the layers."""
    figure, axes = new_figure(1, 3, 9.5, 3.4, share_y=False)
    groups = list(layers.groupby("lambda_h"))
    for color, (price, part) in zip(PALETTE, groups, strict=False):
        for place, name in enumerate(MEASURES):
            panel = axes[0, place]
            label = rf"$\lambda_H$ = {price:.2g}"
            panel.plot(part["layer"], shown(part[name], name), marker=".", color=color, label=label)
            panel.set_xlabel("layer (0: the data)")
            panel.xaxis.get_major_locator().set_params(integer=True)
            panel.set_title(LABELS[name])
    axes[0, 0].set_yscale("log")
    axes[0, 0].set_ylabel("measure of each layer")
    legend_outside(figure, axes[0, 0], columns=4)
    return figure
