"""Where a data set's files are: a folder given, a cache, or their official address.

Downloads are checked against the official checksums; files in a folder of the
user's are taken as they are. Of an archive only the files that are needed are
unpacked, each under its own name and whole.
"""

import os
import shutil
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

VARIABLE = "NC_JAX_DATA"
# Seconds without an answer after which the network counts as absent.
PATIENCE = 20


class Source(NamedTuple):
    """Files of a data set.

    Attributes:
        places: folders below a data folder where they may lie, the first the usual one.
        files: of both splits.
        address: folder of the files, or of the archive.
        checksums: MD5 of what is downloaded, by name: the files, or one archive.
    """

    places: tuple[str, ...]
    files: tuple[str, ...]
    address: str
    checksums: dict[str, str]


def locate(name: str, source: Source, wanted: tuple[str, ...], data_dir: Any = None) -> Path:
    """The folder that holds some files of a data set, downloaded if need be.

    Args:
        name: of the data set.
        source: its files.
        wanted: those that must be there.
        data_dir: where to look first; then in ``$NC_JAX_DATA``, then in the cache.

    Raises:
        FileNotFoundError: a folder given that does not exist or lacks some of the
            files; no files anywhere, and no network. Says which belong where.
    """
    for label, given in (("--data-dir", data_dir), (f"${VARIABLE}", os.environ.get(VARIABLE))):
        if given is None:
            continue
        if not Path(given).is_dir():
            raise FileNotFoundError(f"{name}: {label} {given} is not a folder")
        folders = [Path(given) / place for place in source.places]
        for folder in (folder for folder in folders if folder.is_dir()):
            missing = [file for file in wanted if not (folder / file).is_file()]
            if missing:
                raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
            return folder
    folder = cache() / source.places[0]
    if all((folder / file).is_file() for file in wanted):
        return folder
    try:
        download(source, folder)
    except Exception as error:
        raise FileNotFoundError(
            f"no {name}: put {', '.join(source.files)} into {source.places[0]}/ below a folder "
            f"given by --data-dir or ${VARIABLE} (download failed: {_cause(error)})"
        ) from error
    return folder


def cache() -> Path:
    """The folder of downloads, as the system has it."""
    return Path(_pooch().os_cache("nc_jax"))


def download(source: Source, folder: Path) -> None:
    """Fetches, checks and, where it is an archive, unpacks a data set's files.

    Raises:
        OSError, ValueError: no network, no room, a checksum that differs.
    """
    pooch = _pooch()
    fetch = pooch.HTTPDownloader(timeout=PATIENCE, progressbar=False)
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in source.checksums.items():
        address = f"{source.address}/{name}"
        got = pooch.retrieve(address, f"md5:{digest}", name, folder, downloader=fetch)
        if name not in source.files:
            unpack(Path(got), source.files, folder)
            Path(got).unlink()


def unpack(archive: Path, files: tuple[str, ...], folder: Path) -> None:
    """Takes the files out of a tar archive, whatever folder they are in there.

    Raises:
        ValueError: one that is missing, or not a plain file.
    """
    with tarfile.open(archive) as tar:
        members = {Path(member.name).name: member for member in tar if member.isfile()}
        for name in files:
            content = tar.extractfile(members[name]) if name in members else None
            if content is None:
                raise ValueError(f"{archive.name} lacks {name}")
            temporary = folder / f".{name}.part"
            with temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
            os.replace(temporary, folder / name)


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError("downloads need pooch: pip install 'nc-jax[train]'") from error
    return pooch


def _cause(error: Exception) -> str:
    """The first line of what went wrong."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]
