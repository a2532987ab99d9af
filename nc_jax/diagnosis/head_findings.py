"""What a reader should know of a head of many rows, in sentences."""

import numpy as np

from nc_jax.diagnosis.findings import Finding, Verdict, sentence
from nc_jax.diagnosis.head import VANISHED, HeadArchive, HeadMeasured
from nc_jax.diagnosis.head_predicted import HeadPredicted
from nc_jax.diagnosis.predicted import MERGED

# Number of clusters with a sentence of their own, and of tokens named in it.
SHOWN, NAMED = 5, 8
# A common offset is reported if it holds more than this share of E_W.
OFFSET = 0.1
# The geometry is certified if the gap is at most this share of the objective.
UNSURE = 0.1
NO_PREDICTION = (
    "No prediction: a head has no features, so E_H is not known. Give it by "
    "--feature-energy for the Layer-Peeled Model, or give the weight decay of the training by "
    "--weight-decay."
)


def head_verdict(archive: HeadArchive, seen: HeadMeasured) -> Verdict:
    """The report in one sentence."""
    rows = f"{len(archive.counts):,} rows"
    said = []
    if seen.clusters:
        said.append(f"{sum(map(len, seen.clusters)):,} of {rows} have merged with others")
    if len(seen.vanished):
        have = "has" if len(seen.vanished) == 1 else "have"
        said.append(f"{len(seen.vanished):,} of {rows} {have} vanished")
    if said:
        return Verdict("bad", sentence(" and ".join(said)) + ".")
    return Verdict("good", f"All {rows} are apart: none has merged or vanished.")


def head_findings(
    archive: HeadArchive, seen: HeadMeasured, model: HeadPredicted | None = None, by: str = ""
) -> list[Finding]:
    """What a reader should know, part by part.

    Args:
        archive: classifiers, counts and names.
        seen: what was measured of them.
        model: the prediction of a model for the same counts, or None.
        by: the name of the model.
    """
    lines = _measured_findings(archive, seen)
    if model is not None:
        lines += _prediction_findings(archive, model, by)
    return [*lines, *_advice(archive, seen), *_unknown_findings(model)]


def _measured_findings(archive: HeadArchive, seen: HeadMeasured) -> list[Finding]:
    """What was measured."""
    rows, width = archive.classifiers.shape
    unseen = int(np.sum(archive.counts == 0))
    lines = _merged_findings(archive, seen)
    if len(seen.vanished):
        text = (
            f"Vanished: {_rows(len(seen.vanished))} shorter than {VANISHED:.0%} of the longest "
            f"({_counts(archive.counts[seen.vanished])}): {_listed(archive, seen.vanished)}."
        )
        lines.append(Finding("found", "bad", text))
    if not lines:
        lines.append(Finding("found", "good", "No two rows have merged and none has vanished."))
    notes = [
        f"The head has {rows:,} rows of {width} dimensions, one for each token; the counts add "
        f"up to {archive.counts.sum():,.0f}."
    ]
    if unseen:
        notes.append(
            f"Tokens that never occur (count zero): {unseen:,}. Their rows are measured, but the "
            "predictions leave them out, because the models need positive class sizes."
        )
    if archive.centered:
        notes.append(
            f"The mean row was subtracted; it accounted for {seen.offset_share:.1%} of the mean "
            "squared length of the rows."
        )
    elif seen.offset_share > OFFSET:
        notes.append(
            f"The mean row accounts for {seen.offset_share:.1%} of the mean squared length of the "
            "rows and raises all cosines. It does not change a softmax; --centered True "
            "subtracts it."
        )
    notes.append(_rarest(seen))
    return [*lines, *(Finding("found", "note", note) for note in notes)]


def _rarest(seen: HeadMeasured) -> str:
    bins = seen.bins
    low = int(np.argmax(bins.least > 0))
    among = ""
    if np.isfinite(bins.cosines[low]):
        among = f" and a mean cosine of {bins.cosines[low]:.3f} among themselves"
    times = bins.lengths[low] / max(bins.lengths[-1], 1e-30)
    return (
        f"The rows of the rarest tokens that occur (counts {bins.least[low]:,.0f} to "
        f"{bins.most[low]:,.0f}) have {times:.3g} times the length of those of the most "
        f"frequent{among}."
    )


def _merged_findings(archive: HeadArchive, seen: HeadMeasured) -> list[Finding]:
    if not seen.clusters:
        return []
    merged = sum(map(len, seen.clusters))
    lines = [
        f"Merged: {merged:,} of {len(archive.counts):,} rows are in {len(seen.clusters):,} "
        f"cluster{'s' * (len(seen.clusters) > 1)} of cosines above {MERGED}. Rows of one cluster "
        "point in almost the same direction, so the model gives their tokens nearly the same "
        "score in every context."
    ]
    for cluster in seen.clusters[:SHOWN]:
        lines.append(
            f"A cluster of {len(cluster):,} rows ({_counts(archive.counts[cluster])}): "
            f"{_listed(archive, cluster)}."
        )
    return [Finding("found", "bad", line) for line in lines]


def _rows(number: int) -> str:
    return "1 row is" if number == 1 else f"{number:,} rows are"


def _counts(counts: np.ndarray) -> str:
    return f"counts {counts.min():,.0f} to {counts.max():,.0f}, median {np.median(counts):,.0f}"


def _listed(archive: HeadArchive, rows: np.ndarray) -> str:
    """The rarest of some rows by name."""
    order = rows[np.argsort(archive.counts[rows], kind="stable")]
    names = (archive.names[row].item() for row in order[:NAMED])
    # In quotes, so that spaces and line ends in tokens show.
    shown = ", ".join(repr(name) if isinstance(name, str) else str(name) for name in names)
    return shown + (f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else "")


def _advice(archive: HeadArchive, seen: HeadMeasured) -> list[Finding]:
    lines = []
    if seen.clusters:
        merged = np.concatenate(seen.clusters)
        unseen = float(np.mean(archive.counts[merged] == 0))
        if unseen:
            lines.append(
                f"{unseen:.0%} of the merged rows belong to tokens that never occur in the text. "
                "Remove such tokens from the vocabulary, or train on text in which they occur."
            )
        if unseen < 1:
            median = np.median(archive.counts[merged][archive.counts[merged] > 0])
            lines.append(
                f"The merged tokens that do occur have a median count of {median:,.0f}. More "
                "text with them, or a smaller vocabulary that splits them into frequent pieces, "
                "gives them more to learn from."
            )
    else:
        lines.append("Nothing has to be done to keep the rows apart.")
    return [Finding("advice", "note", line) for line in lines]


def _unknown_findings(model: HeadPredicted | None) -> list[Finding]:
    lines = [] if model is not None else [NO_PREDICTION]
    lines.append(
        "The rows alone do not say how well rare tokens are predicted: measure the loss on new "
        "text, separately for rare and for frequent tokens."
    )
    return [Finding("unknown", "note", line) for line in lines]


def _prediction_findings(archive: HeadArchive, model: HeadPredicted, by: str) -> list[Finding]:
    """The prediction of a model for the same counts, and how well it was solved."""
    rows, width = archive.classifiers.shape
    tokens = int(model.tokens.sum())
    lines = [
        f"Predicted by {by}, for {tokens:,} tokens in {len(model.tokens)} groups of counts that "
        f"differ by at most {model.alike:.1%}. The objective is {model.objective:.6g}, certified "
        f"to be within {model.gap:.1e} of the optimum for the exact counts."
    ]
    if model.gap > UNSURE * model.objective:
        lines.append(
            "This is a large part of the objective itself: at such budgets the loss is close to "
            "its infimum, and the geometry below is not certified."
        )
    if width < tokens - 1:
        lines.append(
            f"Interpret it with caution: the model assumes features of at least {tokens - 1:,} "
            f"dimensions, one fewer than the number of tokens, but these have {width}."
        )
    longest = model.lengths.max()
    gone = model.lengths < VANISHED * longest if longest > 0 else np.ones(len(model.lengths), bool)
    close = ~gone & (np.nan_to_num(model.cosines, nan=-1) > MERGED)
    said = []
    for what, which in (("merges", close), ("gives zero rows to", gone)):
        if which.any():
            said.append(
                f"{what} {int(model.tokens[which].sum()):,} tokens (counts up to "
                f"{model.counts[which].max():,.0f})"
            )
    if said:
        lines.append(f"The model {' and '.join(said)}.")
    else:
        lines.append("The model merges no tokens of equal counts and gives none a zero row.")
    return [Finding("theory", "note", line) for line in lines]
