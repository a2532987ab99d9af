"""Balanced optima compared with theory: a table, and figures of distances from collapse."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, new_figure

METRICS = ("nc1_quotient", "nc2_etf", "nc3_difference")


def summarise_optima(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each model and loss: the worst case over shapes and budgets."""
    rows = []
    keys = list(zip(table["model"], table["loss"], table["condition"], strict=True))
    for key in dict.fromkeys(keys):
        model, loss, condition = key
        group = table[[other == key for other in keys]]
        known = group[group["reached"] >= 0]
        reached = f"{known['reached'].sum()}/{known['restarts'].sum()}" if len(known) else "-"
        excess = np.asarray(known["excess"])
        span = f"{excess.min():.0e} to {excess.max():.0e}" if len(known) else "no closed form"
        rows.append(
            {
                "model": model,
                "loss": loss,
                "Theorem 4 applies": {True: "yes", False: "no", None: "-"}[condition],
                "programs": len(group),
                "relative excess": span,
                "restarts at the optimum": reached,
                "status": ", ".join(sorted(set(group["status"]))),
                **{metric: f"{group[metric].max():.0e}" for metric in METRICS},
            }
        )
    return pd.DataFrame(rows)


def draw_optima(table: pd.DataFrame, norms: pd.DataFrame) -> Figure:
    """Distances from collapse by loss; excess over the theoretical optimum; Proposition 2."""
    figure, axes = new_figure(1, 3, 10, 4, share_x=False, share_y=False)
    names = list(dict.fromkeys(table["model"] + ", " + table["loss"]))
    places = {name: place for place, name in enumerate(names[::-1])}
    labels = table["model"] + ", " + table["loss"]
    heights = np.array([places[label] for label in labels])
    for place, (metric, label) in enumerate(zip(METRICS, ("NC1", "NC2", "NC3"), strict=True)):
        values = table[metric].clip(lower=1e-17)
        axes[0, 0].plot(values, heights, "o", ms=3, color=PALETTE[place], label=label)
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_xlabel("distance from collapse")
    axes[0, 0].set_yticks(list(places.values()), list(places))
    known = table["excess"].notna()
    excess = table.loc[known, "excess"].abs().clip(lower=1e-17)
    axes[0, 1].plot(excess, heights[known], "o", ms=3, color="black")
    axes[0, 1].set_xscale("log")
    axes[0, 1].set_yticks(list(places.values()), [])
    axes[0, 1].set_ylim(axes[0, 0].get_ylim())
    axes[0, 1].set_xlabel("|objective − theory| / theory")
    order = norms.sort_values("q")
    axes[0, 2].plot(order["q"], order["best ETF"], "s--", color=PALETTE[4], label="best ETF")
    axes[0, 2].plot(order["q"], order["best found"], "o-", color=PALETTE[3], label="best found")
    axes[0, 2].set_xlabel(r"$q$ of the features' norm")
    axes[0, 2].set_ylabel("cross-entropy")
    axes[0, 2].set_title("Proposition 2, K = p = 3")
    handles = [axis.get_legend_handles_labels() for axis in (axes[0, 0], axes[0, 2])]
    figure.legend(
        [h for pair in handles for h in pair[0]],
        [label for pair in handles for label in pair[1]],
        loc="outside lower center",
        ncols=5,
    )
    return figure
