"""Names of classes: from the command line, a text file, or the archive itself."""

from collections import Counter
from pathlib import Path

import numpy as np

OPTION = "--class-names"


def read_class_names(given: str) -> list[str]:
    """Names from a list with commas, or from a text file with one name per line.

    A text with a comma is a list unless a file has that name. Spaces around a name are
    removed, and so are empty lines at the end of a file.

    Raises:
        ValueError: naming the option; the file does not exist or is not UTF-8 text.
    """
    if "," in given and not _is_file(given):
        return [name.strip() for name in given.split(",")]
    try:
        text = Path(given).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(
            f"{OPTION} must be a list with commas or a text file with one name per line: "
            f"there is no file {given}"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{OPTION}: {given} is not a text file in UTF-8") from None
    except OSError as error:
        raise ValueError(f"{OPTION} cannot read {given}: {error.strerror or error}") from None
    return [name.strip() for name in text.rstrip().splitlines()]


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except OSError:  # A long list is no valid file name.
        return False


def checked_names(names: list[str], size: int, what: str) -> np.ndarray:
    """The names [K] as an array of texts.

    Args:
        names: one for each class, in the order of the labels.
        size: K.
        what: the source of the names, for error messages.

    Raises:
        ValueError: another number of names than K, one that is empty or has line breaks, or
            two that are the same.
    """
    if len(names) != size:
        raise ValueError(
            f"{what} must give {size} names, one for each class in the order of the labels, "
            f"got {len(names)}"
        )
    for place, name in enumerate(names):
        if not name.strip() or len(name.splitlines()) > 1:
            raise ValueError(
                f"{what} must give names that are not empty and have no line breaks, "
                f"got {name!r} for class number {place}"
            )
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{what} must give different names, got {name!r} {times} times")
    return np.array(names)
