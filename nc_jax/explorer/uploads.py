"""A features file that was dropped into the page: saved, diagnosed, deleted."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np

from nc_jax.diagnosis import (
    MERGED,
    VANISHED,
    FeatureArchive,
    Measured,
    Predicted,
    clusters,
    measure_archive,
    predict_collapse,
)
from nc_jax.explorer.plain import plain_numbers
from nc_jax.explorer.settings import FieldError

MAX_UPLOAD = 512 * 2**20
# Rows of the table of classes, from the smallest.
SHOWN = 30


def too_large(limit: int) -> FieldError:
    """What to say to a file beyond the limit."""
    return FieldError(
        "file",
        f"The file is larger than {limit / 2**20:.0f} MiB, the most that the page takes; "
        "nc-jax diagnose reads files of any size.",
    )


async def save(stream: AsyncIterator[bytes], path: Path, limit: int) -> None:
    """Writes an upload to a file; FieldError as soon as it is larger than the limit."""
    size = 0
    with path.open("wb") as file:
        async for part in stream:
            size += len(part)
            if size > limit:
                raise too_large(limit)
            file.write(part)
    if size == 0:
        raise FieldError("file", "The file is empty; expected a .npz archive by numpy.savez.")


def diagnose(path: Path, name: str) -> dict[str, Any]:
    """What the Layer-Peeled Model says of a features file.

    Args:
        path: of a file by ``numpy.savez`` with ``features`` and ``labels`` and perhaps
            ``classifiers`` and ``bias``.
        name: what the reader calls it.

    Returns:
        Sentences, measures and a table of classes that JSON can hold.

    Raises:
        FieldError: what is wrong with the file.
    """
    try:
        archive = FeatureArchive(path)
        seen = measure_archive(archive)
    except (ValueError, OSError) as error:
        sentence = str(error).replace(str(path), name)
        raise FieldError("file", f"{sentence[:1].upper()}{sentence[1:]}.") from None
    model = None
    if archive.classifiers is not None and min(seen.weight_energy, seen.feature_energy) > 0:
        model = predict_collapse(seen.counts, seen.weight_energy, seen.feature_energy)
    return plain_numbers(
        {
            "name": name,
            "sentences": _sentences(archive, seen, model),
            "measures": _measures(seen),
            "classes": _classes(archive, seen, model),
        }
    )


def _sentences(archive: FeatureArchive, seen: Measured, model: Predicted | None) -> list[str]:
    """What a reader should know."""

    def listed(classes: Any) -> str:
        return ", ".join(str(archive.names[k]) for k in list(classes)[:10])

    what = "classifiers" if archive.classifiers is not None else "class means"
    lines = [
        f"{archive.shape[0]:,} samples of {len(archive.names)} classes in "
        f"{archive.shape[1]:,} dimensions."
    ]
    for group in clusters(seen.cosines, MERGED):
        lines.append(f"The {what} of classes {listed(group)} have merged (cosines above {MERGED}).")
    gone = np.flatnonzero(seen.norms < VANISHED)
    if len(gone):
        lines.append(f"The {what} of classes {listed(gone)} have vanished (shorter than 1 %).")
    if len(lines) == 1:
        lines.append(f"No two {what} have merged and none has vanished.")
    if model is None:
        lines.append("There is no prediction, because the file has no classifiers.")
        return lines
    if model.ratio == 1:
        lines.append("All classes are equally large, and so no collapse is expected.")
        return lines
    lines.append(
        f"The largest class has {model.ratio:.4g} times the samples of the smallest one; the model "
        + (
            f"expects collapse from R0 = {model.collapse_ratio:.4g} on."
            if np.isfinite(model.collapse_ratio)
            else "expects no collapse at these budgets."
        )
    )
    if model.oversampling.max() > 1:
        lines.append(
            "Against it, repeat the samples of the small classes as often as the table says, or "
            "multiply their losses by these numbers."
        )
    return lines


def _measures(seen: Measured) -> list[tuple[str, float]]:
    rows = dict(seen.collapse) | {"E_W": seen.weight_energy, "E_H": seen.feature_energy}
    return [(name, float(value)) for name, value in rows.items()]


def _classes(
    archive: FeatureArchive, seen: Measured, model: Predicted | None
) -> list[dict[str, Any]]:
    """One row for each of the smallest classes."""
    others = np.nan_to_num(seen.cosines, nan=-np.inf)
    np.fill_diagonal(others, -np.inf)
    rows = []
    for k in np.argsort(seen.counts, kind="stable")[:SHOWN].tolist():
        nearest = int(np.argmax(others[k]))
        row = {
            "class": str(archive.names[k]),
            "samples": int(seen.counts[k]),
            "correct": float(seen.accuracy[k]),
            "length": float(seen.norms[k]),
            "nearest": str(archive.names[nearest]),
            "cosine": float(others[k, nearest]),
        }
        rows.append(row | ({} if model is None else {"repeat": float(model.oversampling[k])}))
    return rows
