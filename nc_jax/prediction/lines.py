"""Lines over weight decay at which deep models lose the small classes, and what they foretell."""

from typing import Any

import numpy as np
import pandas as pd

from nc_jax.prediction.branches import follow_branches, lines_of
from nc_jax.theory import deep_linear_lines, deep_linear_ratio

# Runs closer to a line than this factor in R are not counted for or against it.
NEAR = 1.5


def closed_lines(layers: int, majority: int, num_classes: int, decays: np.ndarray) -> pd.DataFrame:
    """Lines of a deep linear head over weight decay, in closed form.

    Args:
        layers: M.
        majority: K_A.
        num_classes: K.
        decays: [D], λ.

    Returns:
        Rows with ``model`` 'linear', ``layers``, ``majority``, ``line``, ``num_classes``,
        ``weight_decay`` and ``ratio``.
    """
    tables = []
    for line, price in deep_linear_lines(layers)._asdict().items():
        minority = num_classes - majority
        ratios = np.asarray(deep_linear_ratio(layers, price, majority, minority, decays))
        own = {"model": "linear", "layers": layers, "majority": majority, "line": line}
        own |= {"num_classes": num_classes, "weight_decay": decays, "ratio": ratios}
        tables.append(pd.DataFrame(own))
    return pd.concat(tables, ignore_index=True)


def followed_lines(
    layers: int,
    majority: int,
    num_classes: int,
    decays: np.ndarray,
    ratios: np.ndarray,
    majority_size: int,
) -> pd.DataFrame:
    """Lines of a deep model with ReLU under cross-entropy, from following both branches.

    Args:
        layers: M.
        majority: K_A.
        num_classes: K.
        decays: [D], λ.
        ratios: R, see :func:`follow_branches`.
        majority_size: n_A.

    Returns:
        The columns of :func:`closed_lines`, with ``model`` 'relu', and ``residual``.
    """
    minority = num_classes - majority
    branches = follow_branches(majority, minority, majority_size, ratios, decays, layers)
    found = lines_of(branches).assign(model="relu", majority=majority, num_classes=num_classes)
    found["residual"] = branches["residual"].max()
    names = ["model", "layers", "majority", "num_classes", "weight_decay", "residual"]
    return found.melt(names, ["existence", "equality"], "line", "ratio")


def foretold(ends: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """How many states from scratch each line predicts: separated below it, not separated above.

    Args:
        ends: one row for each run, see :func:`nc_jax.campaigns.with_states`.
        lines: see :func:`closed_lines` and :func:`followed_lines`.
    """
    runs = ends[(ends["branch"] == "scratch") & (ends["state"] != "broken")]
    rows = []
    groups: Any = lines.groupby(["model", "layers", "line"])
    for (model, layers, line), own in groups:
        right = counted = 0
        for (majority, classes), part in own.groupby(["majority", "num_classes"]):
            part = part.dropna(subset=["ratio"]).sort_values("weight_decay")
            mine = runs[(runs["majority"] == majority) & (runs["num_classes"] == classes)]
            if not len(part) or not len(mine):
                continue
            known = np.log(np.maximum(part["ratio"], 1e-3))
            at = np.interp(np.log(mine["weight_decay"]), np.log(part["weight_decay"]), known)
            distance = np.log(mine["ratio"]) - at
            far = np.abs(distance) >= np.log(NEAR)
            apart = mine["state"] == "separated"
            right += int((far & (apart == (distance < 0))).sum())
            counted += int(far.sum())
        share = f"{right / counted:.2f}" if counted else "none"
        rows.append({"model": model, "layers": layers, "line": line, "runs": counted})
        rows[-1] |= {"share predicted correctly": share}
    return pd.DataFrame(rows)
