"""Compiled programs that are kept on disk, so that the next start compiles nothing.

JAX's persistent compilation cache, in a folder of the user's cache directory. Importing
nc_jax does not turn it on; the studies and the console commands do.
"""

import atexit
import hashlib
import os
import platform
import sys
import warnings
import zlib
from pathlib import Path

import jax

from nc_jax.files import prepare_folder

VARIABLE = "NC_JAX_COMPILATION_CACHE"
OPTION = "--no-compilation-cache"
HELP = (
    "Compiled programs are kept in your cache directory, so that the next start is faster. "
    f"{OPTION}, or {VARIABLE}=off in the environment, turns this off; {VARIABLE}=FOLDER "
    "names another folder."
)
# Bytes of all programs together; a study needs about one megabyte.
LIMIT = 2**28
# Written at each start: older programs are known to be complete.
STAMP = "checked"


def keep_compiled_programs() -> None:
    """Turns JAX's persistent compilation cache on, for all programs however small.

    Settings of the user prevail: ``NC_JAX_COMPILATION_CACHE`` is ``off`` or a folder, and
    nothing is changed if JAX's own cache is configured or disabled. A folder that cannot be
    written is reported in one sentence on standard error, and nothing is kept.
    """
    chosen = os.environ.get(VARIABLE, "")
    settings = jax.config.values
    own = settings["jax_compilation_cache_dir"] is not None
    enabled = settings["jax_enable_compilation_cache"]
    if own or not enabled or chosen.lower() == "off":
        return
    try:
        root = Path(chosen) if chosen else _default_folder()
        folder = root.expanduser().absolute() / _machine()
        # Programs are executable code: nobody else may write them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        prepare_folder(folder)
        drop_damaged(root)
        shrink(root, LIMIT)
    except (OSError, RuntimeError) as error:
        print(f"warning: compiled programs are not kept: {error}", file=sys.stderr)
        return
    atexit.register(shrink, root, LIMIT)
    # Another process may be writing or deleting a program: it is then compiled.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def drop_damaged(root: Path) -> None:
    """Deletes programs that a process which was killed has not written completely.

    JAX would report each of them at every start. Each program is read once, at the first
    start after it was written.
    """
    stamp = root / STAMP
    since = stamp.stat().st_mtime if stamp.exists() else 0
    stamp.touch()
    for path, state in _programs(root):
        if state.st_mtime >= since and not _is_complete(path):
            path.unlink(missing_ok=True)


def shrink(root: Path, limit: int) -> None:
    """Deletes the programs that were not used for the longest time, down to ``limit`` bytes."""
    kept = _programs(root)
    excess = sum(state.st_size for _, state in kept) - limit
    # The time of access is kept to a day on most systems, or not at all.
    for path, state in sorted(kept, key=lambda entry: max(entry[1].st_atime, entry[1].st_mtime)):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= state.st_size


def _default_folder() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("nc_jax", appauthor=False) / "programs"


def _machine() -> str:
    """A digest of the processor, for whose instructions programs are compiled.

    A home may be shared by machines with other processors, which JAX's key does not name.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        own = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    except OSError:
        own = {platform.processor()}
    parts = [platform.machine(), *sorted(own)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _programs(root: Path) -> list[tuple[Path, os.stat_result]]:
    """All programs below a folder; others may delete some meanwhile."""
    found = []
    for path in root.rglob("*-cache"):
        try:
            found.append((path, path.stat()))
        except FileNotFoundError:
            continue
    return found


def _is_complete(path: Path) -> bool:
    """Whether a program can be decompressed; one that is not in zlib's format counts as such."""
    try:
        data = path.read_bytes()
        reader = zlib.decompressobj()
        # Zstandard, which JAX prefers if it is installed, starts with another byte.
        return bool(data) and (data[:1] != b"\x78" or bool(reader.decompress(data)) and reader.eof)
    except FileNotFoundError:
        return True
    except zlib.error:
        return False
