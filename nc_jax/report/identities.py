"""Networks under square loss: neural collapse and the identities of their stationary points."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nc_jax.report.figures import PALETTE, legend_outside, new_figure, plain_ticks

# The measures drawn throughout training, and those drawn at its end.
THROUGH = {
    "nc1_quotient": "NC1: within / between",
    "nc2_etf": "NC2: means from an ETF",
    "nc3_difference": "NC3: classifiers from means",
    "simplex": "classifiers: |cos + 1/(C−1)|",
}
IDENTITIES = {
    "stationarity": "stationarity",
    "direction": "direction",
    "norm": "|norm|",
    "simplex": "|cos + 1/(C−1)|",
    "orthogonality": "|cos|",
}


def summarise_heads(ends: pd.DataFrame) -> pd.DataFrame:
    """One row for each network, head and weight decay."""
    rows = []
    groups: Any = ends.groupby(["data", "network", "head", "weight_decay"], sort=False)
    for (data, network, head, decay), part in groups:
        mean = part.mean(numeric_only=True)
        shown = {"data": data, "network": network, "head": head, "λ": decay}
        shown |= {"training accuracy": f"{mean['train_accuracy_all']:.3f}"}
        shown |= {"test accuracy": f"{mean['test_accuracy_all']:.3f}"}
        shown |= {"NC1": f"{mean['nc1_quotient']:.2g}", "NC2": f"{mean['nc2_etf']:.2g}"}
        shown |= {"NC3": f"{mean['nc3_difference']:.2g}", "NC4": f"{mean['nc4']:.2g}"}
        shown |= {"cosine": f"{mean['cosine']:.3f}", "ε": f"{mean['epsilon']:.3g}"}
        shown |= {"asymmetry": f"{mean['asymmetry']:.2g}"}
        for name in ("stationarity", "direction", "norm"):
            shown[name] = f"{mean[name]:.2g}" if decay > 0 else "–"
        rows.append(shown)
    return pd.DataFrame(rows)


def draw_training(through: pd.DataFrame) -> Figure:
    """NC measures through training: solid with weight decay, dotted without."""
    pairs: Any = list(through.groupby(["data", "network"], sort=False))
    figure, axes = new_figure(
        len(pairs), len(THROUGH), 2.5 * len(THROUGH), 2.0 * len(pairs) + 0.9, True, False
    )
    heads = list(dict.fromkeys(through["head"]))
    for row, ((data, network), own) in enumerate(pairs):
        for panel, (name, title) in zip(axes[row], THROUGH.items(), strict=True):
            for (head, decay), part in own.groupby(["head", "weight_decay"], sort=False):
                mean: Any = part.groupby("epoch")[name].mean()
                line = "-" if decay > 0 else ":"
                label = rf"{head}, $\lambda$ = {decay:g}"
                colour = PALETTE[heads.index(head)]
                panel.plot(mean.index, mean, line, color=colour, label=label)
            panel.set_yscale("log")
            plain_ticks(panel)
            if row == 0:
                panel.set_title(title)
            if row == len(pairs) - 1:
                panel.set_xlabel("epoch")
        axes[row, 0].set_ylabel(f"{network}, {data}")
    legend_outside(figure, axes[0, 0], columns=3)
    return figure


def draw_identities(ends: pd.DataFrame, small: pd.DataFrame) -> Figure:
    """Deviation from each identity at the end of training with weight decay, by head."""
    groups: Any = ends[ends["weight_decay"] > 0].groupby(["network", "data"], sort=False)
    pairs = [(("small", "orthogonal inputs"), small), *groups]
    figure, axes = new_figure(1, len(pairs), 2.4 * len(pairs) + 1.2, 3.4, True, False)
    for panel, ((network, data), own) in zip(axes[0], pairs, strict=True):
        for place, (head, part) in enumerate(own.groupby("head", sort=False)):
            values = part[list(IDENTITIES)].abs().to_numpy()
            spots = np.arange(len(IDENTITIES)) + 0.2 * (place - 1)
            x = np.tile(spots, len(part))
            colour = PALETTE[place]
            panel.plot(x, values.ravel(), "o", color=colour, markersize=5, label=head)
        panel.set_yscale("log")
        if network != "small":
            plain_ticks(panel)
        panel.set_xticks(range(len(IDENTITIES)), list(IDENTITIES.values()), rotation=40, ha="right")
        panel.set_title(f"{network}, {data}")
    axes[0, 0].set_ylabel("relative deviation")
    legend_outside(figure, axes[0, 0], columns=3)
    return figure
