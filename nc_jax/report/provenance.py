"""The provenance of a result: all that is needed to repeat it."""

import dataclasses
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from nc_jax.files import write_atomically
from nc_jax.report.commands import program

PACKAGES = ("nc-jax", "jax", "jaxlib", "flax", "numpy", "optax")


def write_provenance(
    folder: Path, config: Any, wall_time: float, data: Mapping[str, str] | None = None
) -> None:
    """Writes ``folder/provenance.json``.

    It holds the command, the config (including seed and dtype), versions,
    device, wall time in seconds, git revision and date, and no path of the machine except
    those in the command. ``data`` maps the names of data sets to their digests.

    Raises:
        OSError: the folder cannot be written.
    """
    record = {
        "command": " ".join([program(), *sys.argv[1:]]),
        "config": dataclasses.asdict(config),
        "versions": {"python": platform.python_version(), **_versions()},
        "device": _device(),
        "x64": bool(jax.config.read("jax_enable_x64")),
        "wall_time_s": round(wall_time, 3),
        **({"data": dict(data)} if data else {}),
        "git": _git(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(record, indent=2, default=str) + "\n"
    write_atomically(folder / "provenance.json", lambda file: file.write_text(text))


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _device() -> str:
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def _git() -> dict[str, Any] | None:
    """Revision, and whether code has changed since then; None outside a checkout."""
    root = Path(__file__).parent

    def ask(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        revision = ask("rev-parse", "HEAD")
        changed = ask(
            "status", "--porcelain", "--untracked-files=no", "--", ":/nc_jax", ":/studies"
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "modified": bool(changed)}
