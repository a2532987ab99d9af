"""Locations of a data set's files: a given folder, a cache, or the official address.

Downloads are checked against the official checksums; files in the user's own folder
are not checked. Only the files that are needed are extracted from an archive,
each under its own name and completely.
"""

import os
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from nc_jax.files import write_atomically

VARIABLE = "NC_JAX_DATA"
# After this many seconds without an answer there is considered to be no network.
PATIENCE = 20


class Source(NamedTuple):
    """The files of a data set.

    Attributes:
        places: folders within a data folder where they may be, the usual one first.
        files: names of the files of both splits.
        address: address of the folder with the files, or of the archive.
        checksums: MD5 by name of what is downloaded: the files, or one archive.
    """

    places: tuple[str, ...]
    files: tuple[str, ...]
    address: str
    checksums: dict[str, str]


def locate(name: str, source: Source, wanted: tuple[str, ...], data_dir: Any = None) -> Path:
    """The folder with some files of a data set, which are downloaded if necessary.

    Args:
        name: name of the data set.
        source: its files.
        wanted: the files that must be present.
        data_dir: searched first; otherwise ``$NC_JAX_DATA``, and then the cache.

    Raises:
        FileNotFoundError: a given folder does not exist or lacks some of the files, or
            there are no files and no network. The message says where files are expected.
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
    """The folder of downloads, in the usual place of the operating system."""
    return Path(_pooch().os_cache("nc_jax"))


def download(source: Source, folder: Path) -> None:
    """Downloads and checks the files of a data set, and extracts them from an archive.

    Raises:
        OSError, ValueError: no network, no space, or a wrong checksum.
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
    """Extracts the files from a tar archive, whichever folder they are in there.

    Raises:
        ValueError: a file is missing or not a plain file.
    """
    with tarfile.open(archive) as tar:
        members = {Path(member.name).name: member for member in tar if member.isfile()}
        for name in files:
            content = tar.extractfile(members[name]) if name in members else None
            if content is None:
                raise ValueError(f"{archive.name} lacks {name}")
            raw = content.read()
            write_atomically(folder / name, lambda file, raw=raw: file.write_bytes(raw))


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError("downloads need pooch: pip install 'nc-jax[train]'") from error
    return pooch


def _cause(error: Exception) -> str:
    """The first line of the error message."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:160]
