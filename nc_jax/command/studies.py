"""The studies: where they are, what they say of themselves, and how one is run."""

import ast
import importlib
import re
import runpy
import shutil
import sys
import textwrap
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
TIME = re.compile(r"^Time on two CPU cores: (.+?)[;.](?:\s|$)", re.MULTILINE)


def find_studies() -> dict[str, Path]:
    """The scripts by name: those inside an installed package, or else those of the checkout."""
    inside = PACKAGE / "_studies"
    folder = inside if inside.is_dir() else PACKAGE.parent / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def describe_study(path: Path) -> tuple[str, str]:
    """The question of a study and its typical duration, from its docstring; nothing is imported."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    time = TIME.search(text)
    return text.partition("\n")[0], time[1] if time else ""


def describe_studies(studies: dict[str, Path]) -> str:
    """The table of all studies, as wide as the terminal."""
    rows = [("NAME", "TIME", "SUBJECT")]
    rows += [(name, *reversed(describe_study(path))) for name, path in studies.items()]
    first, second = (max(len(row[column]) for row in rows) + 2 for column in (0, 1))
    width = max(shutil.get_terminal_size().columns, first + second + 30)
    lines = [
        textwrap.fill(
            question,
            width,
            initial_indent=f"{name:{first}}{time:{second}}",
            subsequent_indent=" " * (first + second),
        )
        for name, time, question in rows
    ]
    return "\n".join(
        [
            "usage: nc-jax study NAME [OPTIONS]",
            "",
            *lines,
            "",
            "TIME is that of the default options on two CPU cores.",
            "'nc-jax study NAME --help' shows the options; results go to ./results/ unless --out",
            "names another folder.",
        ]
    )


def run_study(path: Path, options: list[str], command: str) -> None:
    """Runs a study as ``python PATH OPTIONS`` does; it exits with the study's own code.

    ``command`` is how the study's messages call it, as in "nc-jax study sweep".
    """
    sys.argv = [str(path), *options]
    with importlib.import_module("nc_jax.report.commands").started_as(command):
        runpy.run_path(str(path), run_name="__main__")
