"""What the models expect at the measured sizes and budgets, in sentences."""

import numpy as np

from nc_jax.diagnosis.diagnosed import Diagnosis
from nc_jax.diagnosis.findings import Finding, named_classes
from nc_jax.diagnosis.predicted import Predicted
from nc_jax.diagnosis.settled import Settled

# Measured and predicted cosines agree closely, or roughly, up to these mean differences.
CLOSELY, ROUGHLY = 0.1, 0.25
# A larger relative change of the imbalance by equal sizes for similar classes is reported.
DISTORTED = 0.02
# The network is in another state if its two smallest classes are closer than predicted by this.
DIFFERENT = 0.2


def theory_findings(diagnosis: Diagnosis) -> list[Finding]:
    """The prediction of the Layer-Peeled Model, and that of weight decay if one was given."""
    lines = []
    if diagnosis.model is not None:
        lines += _model_findings(diagnosis, diagnosis.model)
    if diagnosis.settled is not None:
        lines += _settled_findings(diagnosis, diagnosis.settled)
    if not lines:
        lines.append(Finding("theory", "note", "Nothing was predicted; the reason is below."))
    return lines


def _model_findings(diagnosis: Diagnosis, model: Predicted) -> list[Finding]:
    names = diagnosis.names
    lines = [
        Finding(
            "theory",
            "note",
            "The measurements are compared with the Layer-Peeled Model: the best last layer for "
            "these class sizes among all whose weights and features are as long as the measured "
            "ones. It was solved to optimality (its loss is proved to be within "
            f"{model.gap:.1g} of the minimum), so what it shows is due to the class sizes and "
            "these lengths alone.",
        )
    ]
    whole = diagnosis.seen.counts.max() / diagnosis.seen.counts.min()
    if abs(model.ratio / whole - 1) > DISTORTED:
        text = (
            f"To keep the model small, classes of similar size were given the same size, which "
            f"turns the imbalance ratio of {whole:.4g} into {model.ratio:.4g}."
        )
        lines.append(Finding("theory", "note", text))
    ratio = "with all classes equally large"
    if model.ratio > 1:
        ratio = f"the largest class has {model.ratio:.4g} times the samples of the smallest"
    if model.rank >= len(names) - 1:
        text = f"The model keeps all classes apart at this imbalance ({ratio})."
        lines.append(Finding("theory", "good", text))
    for group in model.merged:
        text = (
            f"The model merges {named_classes(names, group)} into one at this imbalance ({ratio})."
        )
        lines.append(Finding("theory", "bad", text))
    if model.vanished:
        text = f"The model gives {named_classes(names, model.vanished)} a weight vector of zero."
        lines.append(Finding("theory", "bad", text))
    lines += [_threshold(model), *_agreement(diagnosis, model)]
    least = len(names) - 1
    if diagnosis.seen.width < least:
        text = (
            f"Interpret the model with caution: it assumes features of at least {least:,} "
            "dimensions, "
            f"one fewer than the number of classes, but these have {diagnosis.seen.width:,}."
        )
        lines.append(Finding("theory", "warning", text))
    return lines


def _threshold(model: Predicted) -> Finding:
    if not np.isfinite(model.collapse_ratio):
        text = "No imbalance of this kind makes the model merge classes at these lengths."
        return Finding("theory", "good", text)
    beyond = model.ratio / model.collapse_ratio
    place = f"{beyond:.3g} times as large" if beyond >= 1 else f"{1 / beyond:.3g} times smaller"
    text = (
        "In the model the smallest classes begin to merge at an imbalance ratio of "
        f"R0 = {model.collapse_ratio:.5g}. The ratio of your data is {model.ratio:.4g}, which is "
        f"{place}."
    )
    return Finding("theory", "bad" if beyond >= 1 else "good", text)


def _agreement(diagnosis: Diagnosis, model: Predicted) -> list[Finding]:
    """How well the model describes the measurements: by cosines and by the merged classes."""
    lines, mean, names = [], diagnosis.residual, diagnosis.names
    if np.isfinite(mean):
        how, level = "closely", "good"
        if mean > CLOSELY:
            how, level = "roughly", "note"
        if mean > ROUGHLY:
            how, level = "poorly, so take its advice with caution", "warning"
        text = (
            f"Measured and predicted cosines differ by {mean:.2f} on average over all pairs of "
            f"classes (the scale goes from −1 to 1). The model describes this network {how}."
        )
        lines.append(Finding("theory", level, text))
    expected = {*model.vanished}.union(*model.merged)
    found = set(diagnosis.in_state("merged") + diagnosis.in_state("vanished"))
    if found and found <= expected:
        text = "Class sizes explain what was found: the model merges all classes that have merged."
        lines.append(Finding("theory", "good", text))
    elif found:
        others = sorted(found - expected)
        text = (
            f"Class sizes do not explain why {named_classes(names, others)} merged or "
            "vanished: the model keeps them apart. Look for other causes, such as classes with "
            "much the same content, wrong labels, or a training that is not finished."
        )
        lines.append(Finding("theory", "warning", text))
    if expected - found:
        text = (
            f"The model also merges {named_classes(names, sorted(expected - found))}, which have "
            "not merged in the network. This may happen as training continues."
        )
        lines.append(Finding("theory", "warning", text))
    return lines


def _settled_findings(diagnosis: Diagnosis, settled: Settled) -> list[Finding]:
    """The prediction from class sizes and weight decay, compared with the measurements."""
    seen = diagnosis.seen
    smallest = np.argsort(seen.counts, kind="stable")[:2]
    told, found = (cosines[smallest[0], smallest[1]] for cosines in (settled.cosines, seen.cosines))
    off = ~np.eye(len(seen.counts), dtype=bool)
    difference = np.abs(settled.cosines - seen.cosines)[off]
    signs = "nonnegative features" if settled.nonnegative else "features of any sign"
    lines = [
        f"From class sizes and weight decay alone ({signs}; {settled.phase}, certified to "
        f"{settled.gap:.1e}), a network behind batch normalisation is expected to reach a cosine "
        f"of {told:.3f} between the two smallest classes; measured: {found:.3f}."
    ]
    if np.isfinite(difference).any():
        lines.append(
            "Over all pairs of classes this prediction is off by "
            f"{np.nanmean(difference):.3f} on average."
        )
    lost = seen.accuracy[seen.counts <= np.median(seen.counts)].min()
    if np.isfinite(told) and found - told > DIFFERENT and lost < 0.5:
        lines.append(
            "The small classes are closer to each other than at that optimum, and not all of them "
            "are learnt: the network is not at the optimum, but in the state that training from "
            "scratch reaches above a certain imbalance. Dense networks that were first trained "
            "on balanced data stayed at the optimum (studies/prediction.py)."
        )
    return [Finding("theory", "note", line) for line in lines]
