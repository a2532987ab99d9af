"""Result tables: every row as Parquet, a reader's summary as CSV and Markdown."""

from pathlib import Path

from nc_jax.report.files import write_atomically

try:
    import pandas as pd
    import pyarrow  # noqa: F401 (pandas needs it to write Parquet)
    from rich.console import Console
    from rich.table import Table
except ImportError as error:
    raise ImportError(
        "nc_jax.report needs the packages of its extra: pip install 'nc-jax[studies]'"
    ) from error


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
        ValueError: the file is not a whole Parquet file.
    """
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise FileNotFoundError(f"no table at {path}; run the study first")
    try:
        return pd.read_parquet(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {error}") from error


def write_summary(summary: pd.DataFrame, folder: Path, name: str = "table") -> None:
    """Writes a reader's table to ``folder/name.csv`` and ``folder/name.md``.

    Raises:
        OSError: the folder cannot be written.
    """
    csv = summary.to_csv(index=False, lineterminator="\n", float_format="%.12g")
    write_atomically(folder / f"{name}.csv", lambda file: file.write_text(csv))
    write_atomically(folder / f"{name}.md", lambda file: file.write_text(markdown(summary)))


def markdown(summary: pd.DataFrame) -> str:
    """A Markdown table with numbers as a reader wants them."""
    rows = [list(summary.columns), ["---"] * len(summary.columns), *_cells(summary)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def print_table(summary: pd.DataFrame, title: str) -> None:
    """Prints a table to the terminal."""
    table = Table(title=title, title_justify="left")
    for column in summary.columns:
        table.add_column(column, justify="right", overflow="fold")
    for row in _cells(summary):
        table.add_row(*row)
    console = Console()
    # A pipe has no width of its own; a log should not fold the numbers.
    Console(width=console.width if console.is_terminal else 160).print(table)


def _cells(summary: pd.DataFrame) -> list[list[str]]:
    def cell(value: object) -> str:
        if isinstance(value, float):
            return "never" if value == float("inf") else f"{value:.9g}"
        return str(value)

    return [[cell(value) for value in row] for row in summary.itertuples(index=False)]
