"""Text as tokens: the sources of Python's standard library, or the user's own folder.

The former are present on every machine that runs this package, so nothing is downloaded. They
differ between versions of Python: :attr:`Text.digest` identifies a text. A token is
a run of letters, of digits or of spaces at the start of a line, an end of line, or a
single other character; ``read_text`` is thus three tokens. Only the most frequent tokens
of the training part are kept; all others are replaced by ``<unknown>``.
"""

import hashlib
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nc_jax.checks import require_count

UNKNOWN = "<unknown>"
SUFFIXES = (".py", ".txt")
# Folders of the standard library with other packages, tables, or parts that some systems lack.
SKIPPED = {"site-packages", "dist-packages", "__pycache__", "pydoc_data", "encodings"}
SKIPPED |= {"idlelib", "lib2to3", "turtledemo", "ensurepip"}
# One file in this many is held out for testing.
HELD_OUT = 10
_TOKEN = re.compile(r"\n|(?<=\n) +|[^\W\d_]+|\d+|[^\w\s]|_")


class Text(NamedTuple):
    """A tokenised text with V tokens in its vocabulary.

    Attributes:
        train: [T] int32 tokens of the training files, one file after another.
        test: [T'] int32 tokens of held-out files.
        vocabulary: V words and symbols; the first is ``<unknown>``, the others follow by
            decreasing frequency.
        counts: [V] int64, number of occurrences of each token in ``train``; all positive.
        files: number of files that were read.
        digest: SHA-256 of everything that was read, in hexadecimal.
    """

    train: np.ndarray
    test: np.ndarray
    vocabulary: tuple[str, ...]
    counts: np.ndarray
    files: int
    digest: str


def load_text(vocabulary: int, train_tokens: int, test_tokens: int, folder: Any = None) -> Text:
    """Reads and tokenises text.

    The order of the files follows from their names alone (by a digest of each name, so
    that all packages are mixed); every tenth is used for the test part, until there
    are as many tokens as requested.

    Args:
        vocabulary: V ≥ 3, number of different tokens including ``<unknown>``.
        train_tokens: largest T; T is smaller if the files have fewer tokens.
        test_tokens: largest T'.
        folder: a folder with .py or .txt files, also in subfolders; by default the
            standard library of the running Python.

    Raises:
        FileNotFoundError: the folder does not exist.
        TypeError, ValueError: naming the invalid argument: a folder without sources, or a
            vocabulary as large as the number of different tokens.
    """
    vocabulary = require_count("vocabulary", vocabulary, 3)
    wanted = {
        "train": require_count("train_tokens", train_tokens, 2),
        "test": require_count("test_tokens", test_tokens, 2),
    }
    root = Path(sysconfig.get_paths()["stdlib"] if folder is None else folder)
    words: dict[str, list[str]] = {"train": [], "test": []}
    digest, read = hashlib.sha256(), 0
    for number, path in enumerate(source_files(root)):
        part = "test" if number % HELD_OUT == 1 else "train"
        if all(len(words[name]) >= size for name, size in wanted.items()):
            break
        if len(words[part]) >= wanted[part]:
            continue
        source = path.read_text(encoding="utf-8", errors="replace")
        digest.update(f"{path.relative_to(root).as_posix()}\n{source}".encode())
        words[part] += tokenise(source)
        read += 1
    for name, size in wanted.items():
        words[name] = words[name][:size]
        if len(words[name]) < 2:
            raise ValueError(f"text folder (--text-dir) {root} must hold at least two files")
    return _numbered(words["train"], words["test"], vocabulary, read, digest.hexdigest())


def source_files(root: Path) -> list[Path]:
    """Text files in a folder, by a digest of their names; no tests, no generated files.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it contains no text file.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"text folder (--text-dir) {root} does not exist")
    found = {path.relative_to(root).as_posix(): path for path in _walk(root)}
    if not found:
        raise ValueError(f"text folder (--text-dir) {root} holds no {' or '.join(SUFFIXES)} file")
    return [found[name] for name in sorted(found, key=_mixed)]


def _walk(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        # Folders that are removed from the list are not visited.
        below[:] = [name for name in below if name not in SKIPPED and not name.startswith("test")]
        for name in files:
            if name.endswith(SUFFIXES) and not name.startswith("test"):
                yield Path(folder, name)


def _mixed(name: str) -> tuple[bytes, str]:
    return hashlib.sha256(name.encode()).digest(), name


def tokenise(source: str) -> list[str]:
    """Words, numbers, symbols, ends of lines, and spaces at the start of lines."""
    return _TOKEN.findall(source)


def _numbered(
    train: Sequence[str], test: Sequence[str], vocabulary: int, files: int, digest: str
) -> Text:
    """Words as numbers, ordered by decreasing frequency in the training part."""
    frequency = Counter(train)
    if vocabulary > len(frequency):
        raise ValueError(
            f"vocabulary must be at most {len(frequency)}, the number of different tokens in the "
            f"training text (increase train_tokens for more), got {vocabulary}"
        )
    known = sorted(frequency, key=lambda word: (-frequency[word], word))[: vocabulary - 1]
    number = {word: place for place, word in enumerate((UNKNOWN, *known))}

    def numbers_of(words: Sequence[str]) -> np.ndarray:
        return np.array([number.get(word, 0) for word in words], np.int32)

    tokens = numbers_of(train)
    counts = np.bincount(tokens, minlength=vocabulary)
    return Text(tokens, numbers_of(test), tuple(number), counts, files, digest)
