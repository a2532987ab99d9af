"""Checkpoints of a run: arrays written by Orbax, with a digest of all their bytes.

Orbax writes a checkpoint under another name and then renames it, but it does not notice
if bytes are altered afterwards; the digest does. If a checkpoint is damaged, the
previous one is used.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

try:
    from orbax.checkpoint import v1 as orbax
except ImportError as error:
    raise ImportError(
        "checkpoints need the packages of the extra: pip install 'nc-jax[train]'"
    ) from error

NAME = re.compile(r"epoch-(\d{6})")
KEPT = 2
ABOUT = "about.json"
ARRAYS = "arrays"
# Size of a checkpoint in bytes, not counting its arrays.
MARGIN = 2**16


class Saved(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        epoch: number of completed epochs.
        tree: the arrays, in the structure of the given tree.
    """

    epoch: int
    tree: Any


def save_checkpoint(folder: Path, epoch: int, tree: Any) -> None:
    """Writes a checkpoint completely or not at all, and removes all but the newest two.

    Raises:
        OSError: no space or no permission; earlier checkpoints are unchanged.
    """
    final, temporary = folder / f"epoch-{epoch:06d}", folder / f".writing-{os.getpid()}"
    leaves = {f"{i:05d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _require_room(temporary, sum(leaf.nbytes for leaf in leaves.values()))
        with _quiet():
            orbax.save(str((temporary / ARRAYS).resolve()), leaves)
        about = {"epoch": epoch, "digest": _digest(leaves)}
        (temporary / ABOUT).write_text(json.dumps(about) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except Exception as error:
        raise OSError(
            f"cannot write checkpoint {final}: {_line(error)}; earlier checkpoints are intact"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in _checkpoints(folder)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path, like: Any) -> Saved | None:
    """The newest intact checkpoint, or None; a warning names those that are damaged.

    Args:
        folder: folder of one run.
        like: a tree with the structure, shapes and dtypes that were saved.
    """
    shapes = jax.tree.leaves(like)
    for place in _checkpoints(folder):
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            about = json.loads((place / ABOUT).read_text())
            leaves = orbax.load(str((place / ARRAYS).resolve()))
            values = [leaves[key] for key in sorted(leaves)]
            fits = len(values) == len(shapes) and all(
                value.shape == leaf.shape and value.dtype == leaf.dtype
                for value, leaf in zip(values, shapes, strict=True)
            )
            if fits and about["digest"] == _digest(leaves):
                tree = jax.tree.unflatten(jax.tree.structure(like), values)
                return Saved(int(about["epoch"]), tree)
        warnings.warn(f"checkpoint {place} is damaged and skipped", stacklevel=2)
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if NAME.fullmatch(path.name)]
    return sorted(found, reverse=True)


def _digest(leaves: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for key in sorted(leaves):
        value = np.ascontiguousarray(leaves[key])
        digest.update(f"{key}{value.dtype}{value.shape}".encode())
        digest.update(value.data)
    return digest.hexdigest()


def _require_room(folder: Path, size: int) -> None:
    """Checks the free space first, because Orbax's message about a full disk is long."""
    free = shutil.disk_usage(folder).free
    if free < size + MARGIN:
        raise OSError(f"no space left: {size / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax's logs of a failure off the terminal; the exception has the information."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:200]
