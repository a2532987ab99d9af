"""Python code that reproduces the numbers of a view."""

from typing import Any

import numpy as np

from nc_jax.explorer.maps import cells_of
from nc_jax.explorer.paths import MAX_GROUPS, exponents_of
from nc_jax.explorer.settings import Family, MapSettings, PointSettings, SizesSettings

HEAD = """\
import jax
import numpy as np

import nc_jax as nc

jax.config.update("jax_enable_x64", True)
"""
LOSSES = {
    "cross-entropy": "nc.CrossEntropy()",
    "squared-error": "nc.MeanSquaredError()",
    "centred-squared-error": "nc.CentredSquaredError()",
    "label-smoothing": "nc.LabelSmoothing(0.1)",
}
SOLVED = """\
solution = nc.solve(model)
print(nc.phase(solution), "objective", float(solution.objective), "gap", float(solution.gap))
print("norms of the classifiers", np.asarray(solution.classifier_norms))
print("cosines within groups", np.asarray(solution.within_cosines))
"""


PATH = """\
# The curve: sizes n_k^t with the same total, from balanced classes to beyond the given sizes.
exponents = np.array({exponents})
given, counts = np.asarray(sizes.group_sizes), np.asarray(sizes.counts)
powers = (given / given.max()) ** exponents[:, None]
path = nc.ClassSizes(powers * (given @ counts) / (powers @ counts)[:, None], sizes.membership)
curve = nc.solve_batch({model})
largest, smallest = np.argsort(-np.asarray(sizes.class_sizes), kind="stable")[[[0, 1], [-1, -2]]]
cosines, member = np.asarray(curve.between_cosines), np.asarray(sizes.membership)
print("worst gap", float(np.max(curve.gap)))
print("ratios", (powers.max(axis=1) / powers.min(axis=1)))
print("two largest classes", cosines[:, *member[largest]])
print("two smallest classes", cosines[:, *member[smallest]])
"""


def code_of_point(settings: PointSettings) -> str:
    """Code that solves the point and the whole map that the page shows."""
    return "\n".join([HEAD, _point(settings), _map(settings.map)])


def code_of_sizes(settings: SizesSettings) -> str:
    """Code that solves the model of the class sizes that the page shows, and its curve."""
    sizes = ", ".join(f"{size!r}" for size in settings.sizes)
    lines = [
        f"sizes = nc.class_sizes([{sizes}])",
        f"model = {_model(settings.family, 'sizes', repr(settings.strength))}",
        SOLVED,
    ]
    values = np.unique(settings.sizes)
    if 1 < len(values) <= MAX_GROUPS:
        model = _model(settings.family, "path", repr(settings.strength))
        lines.append(PATH.format(exponents=exponents_of(values).tolist(), model=model))
    return HEAD + "\n" + "\n".join(lines)


def _point(settings: PointSettings) -> str:
    about = settings.map
    lines = [
        "# The point.",
        f"sizes = {_sizes(about, repr(settings.ratio))}",
        f"model = {_model(about.family, 'sizes', repr(settings.strength))}",
        SOLVED,
    ]
    return "\n".join(lines)


def _map(settings: MapSettings) -> str:
    cells = cells_of(settings)[-1]
    ends = 2 * cells + 1
    (low, high), (weak, strong) = settings.ratios, settings.strengths
    lines = [
        "# The map: the centres of its cells on logarithmic axes.",
        f"ratios = np.geomspace({low!r}, {high!r}, {ends})[1::2]",
        f"strengths = np.geomspace({weak!r}, {strong!r}, {ends})[1::2]",
        "ratio, strength = np.meshgrid(ratios, strengths)",
        f"sizes = {_sizes(settings, 'ratio')}",
        f"batch = nc.solve_batch({_model(settings.family, 'sizes', 'strength')})",
        "phases = nc.phase(batch)",
        "minority_cosines = np.asarray(batch.within_cosines)[..., 1]",
        "names, counts = np.unique(phases, return_counts=True)",
        "print(dict(zip(names.tolist(), counts.tolist(), strict=True)))",
        'print("worst gap", float(np.max(batch.gap)))',
        "",
    ]
    return "\n".join(lines)


def _sizes(settings: MapSettings, ratio: str) -> str:
    minority = settings.classes - settings.majority
    counts = f"majority={settings.majority}, minority={minority}"
    if settings.family.surrogate == "layer-peeled":
        return f"nc.two_groups({counts}, ratio={ratio})"
    smallest = f"minority_size={settings.largest!r} / {ratio}"
    return f"nc.two_groups({counts}, ratio={ratio}, {smallest})"


def _model(family: Family, sizes: str, strength: str) -> str:
    loss: Any = LOSSES[family.loss]
    if family.surrogate == "layer-peeled":
        energies = f"weight_energy={strength}, feature_energy={strength}"
        return f"nc.LayerPeeled({sizes}, {energies}, loss={loss})"
    penalties = f"lambda_w={strength}, lambda_h={strength}"
    bias = ", lambda_b=0.0" if family.bias else ""
    return f"nc.UnconstrainedFeatures({sizes}, {penalties}{bias}, loss={loss})"
