"""Files that are written either completely or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# The start of the names of files that are being written.
TEMPORARY = ".writing-"


def write_atomically(path: Path, write: Callable[[Path], object], new: bool = False) -> bool:
    """Lets ``write`` fill a temporary file next to ``path``, then renames it.

    If the process is killed or the disk is full, an existing file stays unchanged.

    Args:
        path: the file.
        write: writes its content to the path that it is called with.
        new: whether an existing file is kept, also one that another process has just written.

    Returns:
        Whether the file was written; False only for an existing one that is kept.

    Raises:
        OSError: the folder cannot be created or written; the message names the path.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix is kept at the end, because writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.name, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        if not new:
            temporary.replace(path)
            return True
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
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
