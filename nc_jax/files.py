"""Files that are written either completely or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` fill a temporary file next to ``path``, then renames it.

    If the process is killed or the disk is full, an existing file stays unchanged.

    Raises:
        OSError: the folder cannot be created or written; the message names the path.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept at the end, because writers choose the format by it.
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


class FolderError(OSError):
    """A folder of results that cannot be created or written."""


def prepare_folder(folder: Path) -> None:
    """Creates a folder and tests that it can be written, before a long computation starts.

    Raises:
        OSError: the folder cannot be created or written; the message names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except FileExistsError:
        raise FolderError(f"cannot write into {folder}: it is a file, not a folder") from None
    except OSError as error:
        raise FolderError(
            f"cannot write into the folder {folder}: {error.strerror or error}"
        ) from error
