"""Result tables: every row as Parquet, and a summary for readers as CSV and Markdown."""

import re
from pathlib import Path

from nc_jax.report.files import write_atomically

try:
    import pandas as pd
    import pyarrow  # noqa: F401 (pandas needs it to write Parquet)
    from rich.cells import cell_len
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError as error:
    raise ImportError(
        "nc_jax.report needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error

# Text that a Markdown reader would take for HTML.
_TAG = re.compile("<(?=[A-Za-z/!])")


def write_table(table: pd.DataFrame, folder: Path, name: str = "table") -> None:
    """Writes every row to ``folder/name.parquet``.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / f"{name}.parquet"
    write_atomically(path, lambda file: table.to_parquet(file, index=False, compression="zstd"))


def read_table(folder: Path, name: str = "table") -> pd.DataFrame:
    """Reads what :func:`write_table` wrote.

    Raises:
        FileNotFoundError: no such table; the message names the file.
        ValueError: the file is not a complete Parquet file.
    """
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise FileNotFoundError(f"no table at {path}; run the study first")
    try:
        return pd.read_parquet(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error


def write_summary(summary: pd.DataFrame, folder: Path, name: str = "table") -> None:
    """Writes a summary for readers to ``folder/name.csv`` and ``folder/name.md``.

    Raises:
        OSError: the folder cannot be written.
    """
    csv = summary.to_csv(index=False, lineterminator="\n", float_format="%.12g")
    write_atomically(folder / f"{name}.csv", lambda file: file.write_text(csv))
    write_atomically(folder / f"{name}.md", lambda file: file.write_text(markdown(summary)))


def markdown(summary: pd.DataFrame) -> str:
    """A Markdown table with numbers formatted for readers."""
    rows = [list(summary.columns), ["---"] * len(summary.columns)]
    rows += [
        [_TAG.sub("&lt;", cell.replace("|", r"\|")) for cell in row] for row in _cells(summary)
    ]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def write_report(
    folder: Path, title: str, lines: list[str], picture: str, tables: dict[str, pd.DataFrame]
) -> None:
    """Writes ``folder/report.md``: sentences, ``diagnosis.png``, and tables by title.

    Raises:
        OSError: the folder cannot be written.
    """
    parts = [f"# {title}", *lines, f"![{picture}](diagnosis.png)"]
    for name, table in tables.items():
        parts += [f"## {name}", markdown(table)]
    text = "\n\n".join(parts)
    write_atomically(folder / "report.md", lambda file: file.write_text(text))


def print_table(summary: pd.DataFrame, title: str) -> None:
    """Prints a table to the terminal; a table that is too wide is printed in parts."""
    console = Console()
    # A pipe has no width; in a log file the numbers should not be folded.
    console = Console(width=console.width if console.is_terminal else 160)
    names, cells = [str(name) for name in summary.columns], _cells(summary)
    for number, part in enumerate(_parts(names, cells, console.width)):
        table = Table(title=f"{title}, continued" if number else title, title_justify="left")
        for place in part:
            table.add_column(names[place], justify="right", overflow="fold")
        for row in cells:
            table.add_row(*(escape(row[place]) for place in part))
        console.print(table)


def _parts(names: list[str], cells: list[list[str]], width: int) -> list[list[int]]:
    """The columns of each part: those that identify the rows, and as many others as fit."""
    # A header can be folded at its spaces, a cell cannot; borders take three characters.
    needs = [
        3 + max(cell_len(text) for text in [*name.split(), *(row[place] for row in cells), ""])
        for place, name in enumerate(names)
    ]
    keys = list(range(_prefix(cells, len(names))))
    parts, room = [list(keys)], width - 1 - sum(needs[place] for place in keys)
    left = room
    for place in range(len(keys), len(names)):
        if needs[place] > left and len(parts[-1]) > len(keys):
            parts.append(list(keys))
            left = room
        parts[-1].append(place)
        left -= needs[place]
    return parts


def _prefix(cells: list[list[str]], columns: int) -> int:
    """How many leading columns identify the rows, or one if that would take many."""
    for size in range(1, columns // 2 + 1):
        if len({tuple(row[:size]) for row in cells}) == len(cells):
            return size
    return 1


def _cells(summary: pd.DataFrame) -> list[list[str]]:
    def cell(value: object) -> str:
        if isinstance(value, float):
            return "never" if value == float("inf") else f"{value:.9g}"
        return str(value)

    return [[cell(value) for value in row] for row in summary.itertuples(index=False)]
