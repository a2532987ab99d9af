"""Text as tokens: the sources of Python's standard library, or a folder of the user's.

Every machine that runs this package has the former, so nothing is downloaded. They
differ between versions of Python: :attr:`Text.digest` tells texts apart. A token is
a run of letters, of digits or of spaces at the start of a line, a line's end, or a
single other character; ``read_text`` is thus three tokens. All tokens but the most frequent ones
of the training part are replaced by one, ``<unknown>``.
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
# Folders of a standard library that hold other packages, tables, or what some systems leave out.
SKIPPED = {"site-packages", "dist-packages", "__pycache__", "pydoc_data", "encodings"}
SKIPPED |= {"idlelib", "lib2to3", "turtledemo", "ensurepip"}
# Every so many files one is held out.
HELD_OUT = 10
_TOKEN = re.compile(r"\n|(?<=\n) +|[^\W\d_]+|\d+|[^\w\s]|_")


class Text(NamedTuple):
    """A tokenised text with V tokens in its vocabulary.

    Attributes:
        train: [T] int32 tokens of the training files, one file after the other.
        test: [T'] int32 tokens of files that are held out.
        vocabulary: V words and symbols; the first is ``<unknown>``, the others follow by
            falling frequency.
        counts: [V] int64, how often each token stands in ``train``; all positive.
        files: how many files were read.
        digest: SHA-256 of all that was read, in hexadecimal.
    """

    train: np.ndarray
    test: np.ndarray
    vocabulary: tuple[str, ...]
    counts: np.ndarray
    files: int
    digest: str


def load_text(vocabulary: int, train_tokens: int, test_tokens: int, folder: Any = None) -> Text:
    """Reads and tokenises text.

    The files are taken in an order that follows from their names alone (by a digest of
    each, so that all packages are mixed), every tenth for the test part, until there are
    as many tokens as asked for.

    Args:
        vocabulary: V ≥ 3, tokens that are told apart, ``<unknown>`` among them.
        train_tokens: T at most; fewer if the files have no more.
        test_tokens: T' at most.
        folder: with .py or .txt files, in folders of its own too; by default the
            standard library of the Python that runs.

    Raises:
        FileNotFoundError: no such folder.
        TypeError, ValueError: naming the argument: a folder without sources, a
            vocabulary that is as large as the number of different tokens.
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
            raise ValueError(f"text folder (--text-dir) {root} must hold two files or more")
    return _numbered(words["train"], words["test"], vocabulary, read, digest.hexdigest())


def source_files(root: Path) -> list[Path]:
    """Text files below a folder, mixed by a digest of their names; no tests, nothing generated.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no file of text in it.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"text folder (--text-dir) {root} does not exist")
    found = {path.relative_to(root).as_posix(): path for path in _walk(root)}
    if not found:
        raise ValueError(f"text folder (--text-dir) {root} holds no {' or '.join(SUFFIXES)} file")
    return [found[name] for name in sorted(found, key=_mixed)]


def _walk(root: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(root):
        # What is taken out here is not walked through.
        below[:] = [name for name in below if name not in SKIPPED and not name.startswith("test")]
        for name in files:
            if name.endswith(SUFFIXES) and not name.startswith("test"):
                yield Path(folder, name)


def _mixed(name: str) -> tuple[bytes, str]:
    return hashlib.sha256(name.encode()).digest(), name


def tokenise(source: str) -> list[str]:
    """Words, numbers, symbols, ends of lines, and the spaces that lines begin with."""
    return _TOKEN.findall(source)


def _numbered(
    train: Sequence[str], test: Sequence[str], vocabulary: int, files: int, digest: str
) -> Text:
    """Words as numbers, by falling frequency in the training part."""
    frequency = Counter(train)
    if vocabulary > len(frequency):
        raise ValueError(
            f"vocabulary must be at most the {len(frequency)} different tokens of the training "
            f"text (more with more train_tokens), got {vocabulary}"
        )
    known = sorted(frequency, key=lambda word: (-frequency[word], word))[: vocabulary - 1]
    number = {word: place for place, word in enumerate((UNKNOWN, *known))}

    def numbers_of(words: Sequence[str]) -> np.ndarray:
        return np.array([number.get(word, 0) for word in words], np.int32)

    tokens = numbers_of(train)
    counts = np.bincount(tokens, minlength=vocabulary)
    return Text(tokens, numbers_of(test), tuple(number), counts, files, digest)
