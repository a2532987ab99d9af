"""A file that was dropped into the page: saved, diagnosed, deleted."""

from collections.abc import AsyncIterator
from pathlib import Path

from nc_jax import report
from nc_jax.diagnosis import (
    FeatureArchive,
    HeadArchive,
    diagnose,
    is_head,
    measure_head,
    predict_head,
)
from nc_jax.explorer.settings import FieldError

MAX_UPLOAD = 512 * 2**20


def too_large(limit: int) -> FieldError:
    """The error for a file that is larger than the limit."""
    return FieldError(
        "file",
        f"The file is larger than {limit / 2**20:.0f} MiB, the limit of this page; "
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
        raise FieldError(
            "file", "The file is empty; expected a .npz archive written by numpy.savez."
        )


def diagnosis_of(path: Path, name: str, weight_decay: float | None) -> str:
    """The report of ``nc-jax diagnose`` on a file, as one HTML file.

    Args:
        path: path of a file written by ``numpy.savez`` with features and labels, or with
            classifiers and token counts.
        name: the name of the file that the reader knows.
        weight_decay: λ > 0 of the training, or None if it is not known.

    Raises:
        FieldError: what is wrong with the file.
    """
    try:
        return report.render_page(_page(path, name, weight_decay))
    except (ValueError, OSError) as error:
        sentence = str(error).replace(str(path), name)
        raise FieldError("file", f"{sentence[:1].upper()}{sentence[1:]}.") from None


def _page(path: Path, name: str, weight_decay: float | None) -> report.Page:
    if is_head(path):
        head = HeadArchive(path)
        seen = measure_head(head)
        model, by = predict_head(head.counts, seen.seen_energy, weight_decay=weight_decay)
        return report.head_page(name, head, seen, model, by)
    return report.diagnosis_page(name, diagnose(FeatureArchive(path), weight_decay=weight_decay))
