"""What was measured of the classes, in sentences."""

import numpy as np

from nc_jax.diagnosis.diagnosed import NEAR, Diagnosis
from nc_jax.diagnosis.findings import Finding, named_classes
from nc_jax.diagnosis.head import VANISHED
from nc_jax.diagnosis.predicted import MERGED

# With fewer samples the mean of a class and its share of correct samples are inaccurate.
FEW = 10


def class_findings(diagnosis: Diagnosis) -> list[Finding]:
    """Merged, vanished and close classes, and how many training samples are right."""
    names, seen = diagnosis.names, diagnosis.seen
    what = "last-layer weight vectors" if diagnosis.has_classifiers else "mean features"
    lines = []
    for group in diagnosis.merged:
        lines.append(
            Finding(
                "found",
                "bad",
                f"Merged: the {what} of {named_classes(names, group)} point in almost the same "
                f"direction (cosines above {MERGED}). The network can hardly tell these classes "
                "from one another, because it gives them nearly the same score.",
            )
        )
    gone = diagnosis.in_state("vanished")
    if gone:
        lines.append(
            Finding(
                "found",
                "bad",
                f"Vanished: the {what} of {named_classes(names, gone)} are shorter than "
                f"{VANISHED:.0%} of the longest. The network hardly reacts to what is "
                "special about them.",
            )
        )
    near = diagnosis.in_state("close")
    if near:
        lines.append(
            Finding(
                "found",
                "warning",
                f"Close to merging: for {named_classes(names, near)} the cosine to the nearest "
                f"other class is between {NEAR} and {MERGED}.",
            )
        )
    if not lines:
        lines.append(Finding("found", "good", f"No two {what} have merged and none has vanished."))
    return [*lines, _accuracy(diagnosis), _sizes(seen.counts)]


def _accuracy(diagnosis: Diagnosis) -> Finding:
    accuracy, names = diagnosis.seen.accuracy, diagnosis.names
    order = np.argsort(diagnosis.seen.counts, kind="stable")
    poor = order[accuracy[order] < 0.5].tolist()
    by = "the network" if diagnosis.has_classifiers else "the nearest class mean"
    if poor:
        text = (
            f"Even on the samples in this file, {by} is right for less than half of those of "
            f"{named_classes(names, poor)}."
        )
        return Finding("found", "bad", text)
    if accuracy.min() == 1:
        text = f"On the samples in this file, {by} is right for every sample."
        return Finding("found", "good", text)
    worst = int(np.argmin(accuracy))
    text = (
        f"On the samples in this file, {by} is right for at least {accuracy[worst]:.1%} of "
        f"every class (the lowest is {named_classes(names, [worst])})."
    )
    return Finding("found", "good", text)


def _sizes(counts: np.ndarray) -> Finding:
    ratio = counts.max() / counts.min()
    text = "All classes have the same number of samples."
    if ratio > 1:
        text = (
            f"The class sizes range from {counts.min():,} to {counts.max():,} samples: an "
            f"imbalance ratio of {ratio:.4g}."
        )
    return Finding("found", "note", text)


def unknown_findings(diagnosis: Diagnosis) -> list[Finding]:
    """What cannot be determined from the file."""
    lines = [
        "All numbers come from the samples in the file. They do not measure accuracy on new "
        "data, and the cure is computed, not yet tried: train with it and look at a test set."
    ]
    if not diagnosis.has_classifiers:
        lines.append(
            "The file has no last-layer weights ('classifiers'). Cosines and lengths are "
            "therefore those of the mean features, and whether weights and features agree "
            "(NC3, NC4) is not known."
        )
        if diagnosis.model is None:
            lines.append(
                "No prediction: it needs the length of the weights too. Save 'classifiers' in the "
                "file, or give --weight-energy."
            )
    few = np.flatnonzero(diagnosis.seen.counts < FEW)
    if len(few):
        order = few[np.argsort(diagnosis.seen.counts[few], kind="stable")].tolist()
        lines.append(
            f"Fewer than {FEW} samples: {named_classes(diagnosis.names, order)}. The mean feature "
            "and the share of correct samples of so small a class are inaccurate, and a cure "
            "cannot replace the missing data."
        )
    return [Finding("unknown", "note", line) for line in lines]
