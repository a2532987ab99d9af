"""One solved model, in the form that the panels of the page show."""

import dataclasses
from typing import Any

import jax
import numpy as np

import nc_jax as nc
from nc_jax.explorer.plain import plain_numbers
from nc_jax.explorer.programs import Programs, is_exact, make_loss
from nc_jax.explorer.settings import Family, PointSettings, SizesSettings
from nc_jax.explorer.thresholds import exact_ratios
from nc_jax.solvers import Solution

# Points of the curve of cosines against R; with the point itself they are solved as one block.
EXACT_CURVE, ITERATIVE_CURVE = 401, 63


def describe_point(programs: Programs, settings: PointSettings) -> dict[str, Any]:
    """A point of a map with the curve of cosines through it.

    Args:
        programs: the compiled programs.
        settings: the map and the point.

    Returns:
        Numbers that JSON can hold; None for those that do not exist.
    """
    about = settings.map
    count = EXACT_CURVE if is_exact(about.family) else ITERATIVE_CURVE
    ratios = np.geomspace(*about.ratios, count)
    given = np.r_[settings.ratio, ratios]
    strengths = np.full(len(given), settings.strength)
    # Solved in this thread, so that it does not wait for a map that is being refined.
    lanes = programs.of(about.family).solve(about, given, strengths)
    own = jax.tree.map(lambda leaf: leaf[0], lanes.solution)
    solution = dataclasses.replace(own, model=model_of_point(settings))
    collapse, vanish = exact_ratios(about, settings.strength)
    curve = {
        "ratio": ratios,
        "large": lanes.cosines[1:, 0],
        "small": lanes.cosines[1:, 1],
        "collapse": collapse,
        "vanish": vanish,
        "worst_gap": float(np.max(lanes.solution.gap)),
    }
    return plain_numbers(_described(solution) | {"curve": curve, "ratio": settings.ratio})


def describe_sizes(settings: SizesSettings) -> dict[str, Any]:
    """A model of arbitrary class sizes, solved by :func:`nc_jax.solve`.

    Args:
        settings: the sizes and the budget or weight decay.

    Returns:
        As :func:`describe_point`, without a curve.
    """
    return plain_numbers(_described(nc.solve(model_of_sizes(settings))))


def model_of_point(settings: PointSettings) -> Any:
    """The surrogate at a point of a map."""
    about = settings.map
    counts = about.majority, about.classes - about.majority
    sizes = nc.two_groups(*counts, settings.ratio, about.largest / settings.ratio)
    return _model(about.family, sizes, settings.strength)


def model_of_sizes(settings: SizesSettings) -> Any:
    """The surrogate for arbitrary class sizes."""
    return _model(settings.family, nc.class_sizes(settings.sizes), settings.strength)


def _model(family: Family, sizes: nc.ClassSizes, strength: float) -> Any:
    loss = make_loss(family.loss)
    if family.surrogate == "layer-peeled":
        return nc.LayerPeeled(sizes, strength, strength, loss)
    bias = 0.0 if family.bias else None
    return nc.UnconstrainedFeatures(sizes, strength, strength, bias, loss)


def _described(solution: Any) -> dict[str, Any]:
    """Certificate, phase and geometry."""
    sizes = solution.model.sizes
    counts = np.asarray(sizes.counts)
    gram = gram_of(solution)
    coordinates, shares = principal(gram)
    phase = nc.phase(solution)
    groups = zip(
        np.asarray(sizes.group_sizes).tolist(),
        counts.tolist(),
        np.asarray(solution.classifier_norms).tolist(),
        np.asarray(solution.within_cosines).tolist(),
        strict=True,
    )
    return {
        "groups": [
            {"size": size, "count": count, "norm": norm, "cosine": cosine}
            for size, count, norm, cosine in groups
        ],
        "membership": list(sizes.membership),
        "gram": gram,
        "coordinates": coordinates,
        "shares": shares,
        "objective": float(solution.objective),
        "gap": float(solution.gap),
        "status": nc.Status(int(solution.status)).name.lower().replace("_", " "),
        "steps": int(solution.iterations),
        "phase": phase,
        "sentence": SENTENCES[str(phase)],
    }


SENTENCES = {
    "separated": "No two classifiers coincide and none is zero: the model keeps all classes apart.",
    "collapsed": (
        "Minority collapse: at least two equally large classes have exactly the same classifier, "
        "so the model cannot tell them apart."
    ),
    "vanished": (
        "At least one classifier is exactly zero: the model gives up these classes, and their "
        "cosines do not exist."
    ),
    "unresolved": (
        "The certificate does not determine the phase here: the solver did not converge, or the "
        "point is too close to a threshold."
    ),
}


def gram_of(solution: Solution) -> np.ndarray:
    """Inner products [K, K] of the classifiers, from the few numbers of their groups.

    ``solution.classifier_gram`` would be compiled again for every K.
    """
    member = np.asarray(solution.model.sizes.membership)
    norms = np.asarray(solution.classifier_norms)[member]
    # A classifier of zero has no cosine, and inner products of zero.
    cosines = np.nan_to_num(np.asarray(solution.between_cosines))[member[:, None], member]
    np.fill_diagonal(cosines, 1)
    return cosines * norms[:, None] * norms


def principal(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the three directions of the largest total squared length.

    Args:
        gram: [K, K] inner products of K rows.

    Returns:
        Coordinates [K, 3], and the shares [3] of the rows' squared lengths that they hold.
    """
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values[::-1], 0)
    rank = min(3, len(values))
    coordinates = np.zeros((len(gram), 3))
    coordinates[:, :rank] = vectors[:, ::-1][:, :rank] * np.sqrt(values[:rank])
    shares = np.zeros(3)
    if values.sum() > 0:
        shares[:rank] = values[:rank] / values.sum()
    return coordinates, shares
