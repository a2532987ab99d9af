"""The code that stored rows depend on: rows of other code are not reused by themselves.

Finished rows are kept for the next start, and found by a digest of all options that they depend
on, together with :func:`code_digest`. If the code has changed since, a study computes its rows
again, with a warning; a user's sweep, whose rows may be worth days, stops and says how to go on
(:meth:`nc_jax.sweeps.Store.prepare`). The old rows stay where they are in both cases.
"""

import ast
import hashlib
import inspect
import warnings
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
# It draws and writes the rows that others computed.
WITHOUT = f"{PACKAGE.name}.report"


def code_digest(*makers: Any) -> str:
    """A digest of the source that rows depend on, in 16 hexadecimal digits.

    It covers the files in which the makers are defined and all modules of this package that
    these files import, directly or through others, except for :mod:`nc_jax.report`.

    It does not cover the versions of JAX, jaxlib, Flax and the other packages. Another version
    of them changes how numbers are rounded, not what is computed, as another device does, and a
    digest that covered them would discard weeks of training at every update. They are
    recorded instead: in ``provenance.json``, those of the last start, and in every part of a sweep.

    Args:
        makers: the functions that compute the rows; of a function made from another one, which
            it names as ``__wrapped__``, that one; of any other object, its class.

    Raises:
        ValueError: a maker is not defined in a file.
    """
    return _digest(frozenset(_file_of(maker) for maker in makers))


def warn_of_other_code(folder: Path, rows: str) -> None:
    """Warns that a folder holds ``rows``, for instance '3 training(s)', which are not reused."""
    line = f"{folder} holds {rows} of another version of the code; kept there, computed again"
    warnings.warn(line, stacklevel=3)


def _file_of(maker: Any) -> Path:
    maker = inspect.unwrap(maker) if callable(maker) else maker
    while isinstance(maker, partial):
        maker = maker.func
    try:
        found = inspect.getsourcefile(maker if inspect.isroutine(maker) else type(maker))
    except TypeError:
        found = None
    if found is None or not Path(found).is_file():
        raise ValueError(f"{maker!r} must be defined in a file: stored rows depend on its source")
    return Path(found).resolve()


@cache
def _digest(roots: frozenset[Path]) -> str:
    own = sorted(hashlib.sha256(file.read_bytes()).digest() for file in source_files(roots))
    return hashlib.sha256(b"".join(own)).hexdigest()[:16]


def source_files(roots: frozenset[Path]) -> set[Path]:
    """Some files, and the files of all modules that they import from this package."""
    files, todo = set(roots), [name for root in roots for name in _imported(root)]
    while todo:
        *packages, module = _modules(todo.pop())
        # A name of a package that loads its modules lazily can come from any of them.
        stub = module.with_suffix(".pyi")
        for file in {*packages, module, *([stub] if stub.exists() else [])} - files:
            files.add(file)
            todo += _imported(file)
    return files


def _imported(file: Path) -> Iterator[str]:
    """Dotted names of the modules of this package that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # Only stubs have relative imports, of the modules beside them.
            near = file.parent.relative_to(PACKAGE.parent).parts if node.level else ()
            start = ".".join([*near, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        for name in names:
            within = f"{name}.".startswith(f"{PACKAGE.name}.")
            if within and not f"{name}.".startswith(f"{WITHOUT}."):
                yield name


def _modules(name: str) -> list[Path]:
    """Files of the packages of a dotted name and of its module; a last part may be no module."""
    files, place = [PACKAGE / "__init__.py"], PACKAGE
    for part in name.split(".")[1:]:
        place = place / part
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if not file.is_file():
            break
        files.append(file)
    return files
