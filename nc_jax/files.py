"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` fill a temporary neighbour of ``path``, then renames it.

    A killed process or a full disk leaves the old file, or none, as it was.

    Raises:
        OSError: the folder cannot be made or written; the message names the path.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=".writing-", suffix=path.name, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def prepare_folder(folder: Path) -> None:
    """Makes a folder and tries to write there, before anything long is computed.

    Raises:
        OSError: the folder cannot be made or written; the message names it.
    """
    probe = folder / "probe"
    write_atomically(probe, lambda file: file.write_text("probe"))
    probe.unlink()
