"""One table in many Parquet parts, in a folder or in an object store.

The name of a part holds the fingerprint of its block, its chunk, and a digest of both
and of its bytes: if the part is incomplete or does not belong here, its name does not match.
A part is written under another name first and then renamed, or uploaded in one piece. Two
processes may fill the same store: they write identical files.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nc_jax.files import TEMPORARY, write_atomically
from nc_jax.sweeps.plan import Block, Plan, extended, plan_from_spec

try:
    import fsspec
    import pyarrow as pa
    import pyarrow.dataset
    import pyarrow.parquet as pq
    from fsspec.implementations.local import LocalFileSystem
except ImportError as error:
    raise ImportError(
        "nc_jax.sweeps needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error

MANIFEST = "sweep.json"
# The key of the manifest with the digests of other code that continued the sweep.
OTHERS = "continued_by_code"
PART = re.compile(r"([0-9a-f]{12})-(\d{8})-([0-9a-f]{32})\.parquet")
# Threads that check parts: they mostly wait, or compute hashes without Python's lock.
READERS = 8
# A longer spec of a block is stored only in the manifest.
LONG_SPEC = 100_000


class Scan(NamedTuple):
    """The content of a store.

    Attributes:
        parts: (block, chunk) to path, for all complete parts.
        damaged: paths of parts that are truncated or altered.
        foreign: paths of files that belong to no block.
    """

    parts: dict[tuple[int, int], str]
    damaged: list[str]
    foreign: list[str]


class Store:
    """A plan and the parts that have been computed."""

    def __init__(self, address: Any):
        """Takes a folder, or an address for fsspec (``s3://``, ``gs://``, ``memory://``).

        Raises:
            ValueError: fsspec does not know this kind of address.
        """
        self.address = str(address)
        try:
            self.files, self.root = fsspec.core.url_to_fs(self.address)
        except (ValueError, ImportError) as error:
            raise ValueError(f"store must be a folder or an address: {error}") from error
        self.local = isinstance(self.files, LocalFileSystem)

    def plan(self) -> Plan | None:
        """The plan in the store; None for an empty one.

        Raises:
            ValueError: the manifest is not readable.
        """
        return self._begun()[0]

    def codes(self) -> list[str]:
        """The digests of the code that began the sweep and of all that continued it."""
        plan, others = self._begun()
        return [plan.code, *others] if plan is not None and plan.code else others

    def _begun(self) -> tuple[Plan | None, list[str]]:
        """The plan, and the digests of other code with which it was continued."""
        try:
            text = self.files.cat_file(f"{self.root}/{MANIFEST}")
        except FileNotFoundError:
            return None, []
        try:
            manifest = json.loads(text)
            return plan_from_spec(manifest), list(manifest.get(OTHERS, []))
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.address}/{MANIFEST} is not readable: {error}") from error

    def prepare(
        self,
        plan: Plan,
        measure: Callable[[Block], int] | None = None,
        replace: bool = False,
        any_code: bool = False,
    ) -> Plan:
        """Makes the store ready for a plan: new, the same, or with more axis values.

        Args:
            plan: the requested plan.
            measure: determines the chunk of a block that has none.
            replace: discard an earlier plan; parts of blocks in both plans are kept, and all
                other parts stay in the folder without being read.
            any_code: continue a plan that was begun by other code: the table then holds rows of
                both. The manifest lists the digests of all code that continued it, which may
                do so again.

        Returns:
            The plan that is now in the store, with the chunks and the digest of code with which
            it was begun.

        Raises:
            ValueError: the store holds another plan, or the same one begun by other code.
            OSError: the store cannot be written.
        """
        self.files.makedirs(f"{self.root}/parts", exist_ok=True)
        before, others = (None, []) if replace else self._begun()
        if before is not None:
            had = others
            plan, others = self._continued(before, had, plan, any_code)
            same = others == had and plan.code == before.code
            if same and len(plan.blocks) == len(before.blocks):
                return before
        if measure is not None:
            blocks = [
                block if block.chunk else dataclasses.replace(block, chunk=measure(block))
                for block in plan.blocks
            ]
            plan = Plan(plan.settings, tuple(blocks))
        more = {"versions": versions()} | ({OTHERS: others} if others else {})
        text = json.dumps(plan.spec() | more, indent=1) + "\n"
        begun = self._put(
            f"{self.root}/{MANIFEST}", text.encode(), new=before is None and not replace
        )
        # If several processes start a store at the same time, one of them is first.
        return plan if begun else self.prepare(plan)

    def _continued(
        self, before: Plan, others: list[str], plan: Plan, any_code: bool
    ) -> tuple[Plan, list[str]]:
        """The plan with the blocks of an earlier one, and all other code that continues that."""
        code = plan.code
        plan = self._extended(before, plan.with_code(before.code))
        if code in (before.code, *others):
            return plan, others
        if any_code:
            return plan, [*others, code]
        if not self._has_parts(before):
            # A manifest alone, for instance one that was published without its parts.
            return plan.with_code(code), []
        raise ValueError(
            f"{self.address} holds rows of another version of the code; they were not changed. "
            "Choose another store, compute all rows again with replace=True (--replace True), or "
            "continue with any_code=True (--any-code True), after which the table holds rows of "
            "both versions"
        )

    def _has_parts(self, plan: Plan) -> bool:
        """Whether there is a part of a plan, complete or not."""
        return any(name.startswith(tuple(plan.fingerprints)) for name in self._names("parts"))

    def _extended(self, before: Plan, plan: Plan) -> Plan:
        try:
            return extended(before, plan)
        except ValueError as error:
            raise ValueError(
                f"{self.address} holds another sweep ({error}); "
                "choose another store, or discard that sweep with replace=True"
            ) from error

    def write(self, plan: Plan, place: int, chunk: int, columns: Mapping[str, np.ndarray]) -> int:
        """Writes one part completely and returns its bytes; equal data give an equal file.

        Raises:
            OSError: no space or no permission; no partial file is left.
        """
        fingerprint = plan.fingerprints[place]
        block = plan.blocks[place].spec()
        if len(json.dumps(block)) > LONG_SPEC:
            block = {"fingerprint": fingerprint}
        about = {
            "settings": plan.settings,
            "block": block,
            "chunk": chunk,
            "versions": versions(),
        }
        arrays = {name: _array(column) for name, column in columns.items()}
        # Columns that may hold nulls take twice as long to write.
        fields = [pa.field(name, array.type, nullable=False) for name, array in arrays.items()]
        schema = pa.schema(fields, {"nc_jax.sweep": json.dumps(about, sort_keys=True)})
        table = pa.Table.from_arrays(list(arrays.values()), schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="lz4",
            use_dictionary=False,
            # A scan for a range of an axis skips the other parts by their statistics.
            write_statistics=list(plan.blocks[place].grid.names),  # pyright: ignore
            write_batch_size=max(len(table), 1),
        )
        raw = sink.getvalue()
        name = f"{fingerprint}-{chunk:08d}-{_digest(fingerprint, chunk, raw)}.parquet"
        self._put(f"{self.root}/parts/{name}", raw)
        return raw.size

    def _put(self, path: str, raw: Any, new: bool = False) -> bool:
        """Writes a complete file; returns False if it must be new but already exists."""
        if not self.local:
            if new and self.files.exists(path):
                return False
            self.files.pipe_file(path, bytes(raw))
            return True
        return write_atomically(Path(path), lambda file: file.write_bytes(raw), new)

    def scan(self, plan: Plan) -> Scan:
        """Reads every part once and separates the complete ones from the others."""
        places = {fingerprint: place for place, fingerprint in enumerate(plan.fingerprints)}
        sizes = [block.num_chunks for block in plan.blocks]
        names = self._names("parts")
        found = Scan({}, [], [])
        candidates = []
        for name in names:
            match = PART.fullmatch(name)
            place = places.get(match[1]) if match else None
            if match is None or place is None or int(match[2]) >= sizes[place]:
                found.foreign.append(name)
            else:
                candidates.append((name, place, int(match[2]), match))
        with ThreadPoolExecutor(READERS) as pool:
            whole = list(pool.map(lambda c: self._whole(c[0], c[3]), candidates))
        for (name, place, chunk, _), good in zip(candidates, whole, strict=True):
            path = f"{self.root}/parts/{name}"
            if good:
                found.parts.setdefault((place, chunk), path)
            else:
                found.damaged.append(name)
        return found

    def _whole(self, name: str, match: re.Match) -> bool:
        try:
            raw = self.files.cat_file(f"{self.root}/parts/{name}")
        except OSError:
            return False
        return _digest(match[1], int(match[2]), raw) == match[3]

    def discard(self, names: list[str]) -> None:
        """Removes damaged parts, and files that killed writers left at least an hour ago."""
        for name in names:
            self._remove(f"{self.root}/parts/{name}")
        if not self.local:
            return
        folder = os.path.join(self.root, "parts")
        with os.scandir(folder) as entries:
            for entry in entries:
                old = entry.name.startswith(TEMPORARY) and _age(entry) > 3600
                if old:
                    self._remove(entry.path)

    def record_failure(self, plan: Plan, place: int, chunk: int, error: str) -> None:
        """Notes a chunk whose function raised; the note is removed once the chunk is done."""
        first, last = chunk * plan.blocks[place].chunk, plan.size(place, chunk)
        note = {
            "block": place,
            "choices": dict(plan.blocks[place].choices),
            "chunk": chunk,
            "first": first,
            "points": last,
            "error": error,
        }
        self.files.makedirs(f"{self.root}/failures", exist_ok=True)
        self._put(self._failure(plan, place, chunk), json.dumps(note).encode())

    def forget_failure(self, plan: Plan, place: int, chunk: int) -> None:
        """Removes the note, because the chunk is done."""
        self._remove(self._failure(plan, place, chunk))

    def _remove(self, path: str) -> None:
        """Removes a file; another process may have removed it before."""
        with contextlib.suppress(FileNotFoundError):
            self.files.rm_file(path)

    def failures(self) -> list[dict[str, Any]]:
        """The notes of :meth:`record_failure`."""
        names = [name for name in self._names("failures") if name.endswith(".json")]
        return [json.loads(self.files.cat_file(f"{self.root}/failures/{name}")) for name in names]

    def _failure(self, plan: Plan, place: int, chunk: int) -> str:
        return f"{self.root}/failures/{plan.fingerprints[place]}-{chunk:08d}.json"

    def _names(self, folder: str) -> list[str]:
        """Files of a folder, except for those that are being written."""
        path = f"{self.root}/{folder}"
        if self.local:
            names = os.listdir(path) if os.path.isdir(path) else []
        else:
            self.files.invalidate_cache()
            found = self.files.ls(path, detail=False) if self.files.exists(path) else []
            names = [name.rsplit("/", 1)[-1] for name in found]
        return sorted(name for name in names if not name.startswith(TEMPORARY))

    def dataset(self) -> Any:
        """All complete parts in the order of the table, as a pyarrow dataset to scan.

        Raises:
            FileNotFoundError: the store is empty.
        """
        plan = self.plan()
        parts = {} if plan is None else self.scan(plan).parts
        if not parts:
            raise FileNotFoundError(f"no part in {self.address}; run the sweep first")
        paths = [parts[key] for key in sorted(parts)]
        files = None if self.local else self.files
        return pyarrow.dataset.dataset(paths, format="parquet", filesystem=files)

    def to_pandas(self, columns: list[str] | None = None) -> Any:
        """The table, or some of its columns."""
        return self.dataset().to_table(columns=columns).to_pandas()

    def to_polars(self, columns: list[str] | None = None) -> Any:
        """The table, or some of its columns; needs polars."""
        try:
            import polars
        except ImportError as error:
            raise ImportError("to_polars needs polars: pip install 'nc-jax[tables]'") from error
        return polars.from_arrow(self.dataset().to_table(columns=columns))

    def to_xarray(self) -> Any:
        """Outputs over the axes; a full grid only. Needs xarray."""
        try:
            import xarray
        except ImportError as error:
            raise ImportError("to_xarray needs xarray: pip install 'nc-jax[tables]'") from error
        table, plan = self.to_pandas(), self.plan()
        block = plan.blocks[0] if plan else None
        names = [*block.choices, *block.grid.names] if block else []
        table = table.drop(columns="point").set_index(names)
        if len(names) > 1 and np.prod([len(level) for level in table.index.levels]) != len(table):
            table = table.reset_index()
            table.index.name = "row"
        return xarray.Dataset.from_dataframe(table)


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that determine the numbers."""
    found = {}
    for name in ("nc-jax", "jax", "jaxlib", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _array(column: np.ndarray) -> Any:
    """The column [n]; the one value of a choice, of which it is a view, is converted once."""
    if len(column) and column.strides == (0,):
        return pa.repeat(column[0].item(), len(column))
    return pa.array(column)


def _digest(fingerprint: str, chunk: int, raw: Any) -> str:
    digest = hashlib.sha256(f"{fingerprint}-{chunk}:".encode())
    digest.update(raw)
    return digest.hexdigest()[:32]


def _age(entry: os.DirEntry) -> float:
    return time.time() - entry.stat().st_mtime
