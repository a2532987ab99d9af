"""Findings: what a reader should know, as sentences in plain text.

They are written for readers who know classification but not the theory of neural collapse.
The reports in Markdown, on the page and in the terminal show the same sentences; each of them
escapes the characters that its format would interpret as markup.
"""

from typing import NamedTuple

import numpy as np

# The parts of a report, in order, with their headings.
PARTS = {
    "found": "What was found",
    "theory": "What theory expects, and how sure that is",
    "advice": "What to do",
    "unknown": "What could not be determined",
}
# Largest number of classes that are named in one sentence.
NAMED = 10


class Finding(NamedTuple):
    """One finding.

    Attributes:
        part: a key of PARTS.
        level: 'good', 'warning', 'bad', or 'note' for none of these.
        text: one or a few whole sentences.
    """

    part: str
    level: str
    text: str


class Verdict(NamedTuple):
    """The report in one sentence.

    Attributes:
        level: 'good', 'warning' or 'bad'.
        text: the sentence.
    """

    level: str
    text: str


class Advice(NamedTuple):
    """A cure, ready to use.

    Attributes:
        rank: 'Recommended', 'Alternative', or 'Optional' if no class needs it.
        title: what to do, in a few words.
        strength: its one number, with its symbol.
        text: what it does, why, and how certain this is.
        vector: what the numbers for each class are called.
        values: [K] the numbers, in the order of the classes.
        code: code of a training step in PyTorch that uses the numbers.
    """

    rank: str
    title: str
    strength: str
    text: str
    vector: str
    values: np.ndarray
    code: str


def listed(items: list[str], most: int = NAMED) -> str:
    """'a', 'a and b', 'a, b and c', 'a, b, c and 9 more'."""
    if len(items) > most:
        return ", ".join(items[:most]) + f" and {len(items) - most:,} more"
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)


def named_classes(names: np.ndarray, classes: list[int]) -> str:
    """'class 3', or 'classes “cat” and “dog”': texts in quotes, numbers without."""
    quoted = [f"“{name}”" if isinstance(name, str) else str(name) for name in names[classes]]
    return ("class " if len(classes) == 1 else "classes ") + listed(quoted)


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def by_part(found: list[Finding]) -> dict[str, list[Finding]]:
    """Findings under the headings of their parts; parts without findings are left out."""
    parts = {text: [one for one in found if one.part == part] for part, text in PARTS.items()}
    return {text: own for text, own in parts.items() if own}
