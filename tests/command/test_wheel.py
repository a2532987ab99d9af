"""The wheel: what is in it, and that its studies know that they are installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the content of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_it_holds_the_package_and_the_studies_only(installed):
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"nc_jax"}
    for pattern in ("*.py", "specs/*.toml"):
        theirs = {path.name for path in (installed / "nc_jax" / "_studies").glob(pattern)}
        assert theirs == {path.name for path in (ROOT / "studies").glob(pattern)} != set()
    assert (installed / "nc_jax" / "__init__.pyi").is_file()
    assert (installed / "nc_jax" / "py.typed").is_file()
    (entries,) = installed.glob("*.dist-info/entry_points.txt")
    assert "nc-jax = nc_jax.command:main" in entries.read_text()


def test_its_studies_name_the_command_and_find_their_specs(installed, tmp_path):
    code = "from nc_jax.command import main; main()"

    def sweep(*arguments):
        return subprocess.run(
            [sys.executable, "-c", code, "sweep", *arguments],
            env={**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "100"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    shown = sweep("--help").stdout
    assert "nc-jax sweep run ratio_budget.toml" in shown and "python studies" not in shown
    status = sweep("status", "ratio_budget.toml")
    assert status.returncode == 2
    assert status.stderr == "error: no sweep in results/sweep/ratio_budget\n"
