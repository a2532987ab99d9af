"""Tables, figures, provenance: written whole, or not at all."""

import dataclasses
import json
import re
import threading

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from nc_jax import report
from nc_jax.files import write_atomically
from nc_jax.report.tables import markdown
from tests.running import run_study

TABLE = pd.DataFrame({"R": [1.0, np.inf], "phase": ["separated", "collapsed"], "n": [1, 2]})


def test_tables_come_back_as_they_went(tmp_path):
    report.write_table(TABLE, tmp_path / "new" / "folder")
    pd.testing.assert_frame_equal(report.read_table(tmp_path / "new" / "folder"), TABLE)


def test_summaries_are_readable(tmp_path):
    report.write_summary(TABLE, tmp_path)
    assert (tmp_path / "table.md").read_text() == markdown(TABLE)
    assert "| never | collapsed | 2 |" in markdown(TABLE)
    assert (tmp_path / "table.csv").read_text().splitlines()[0] == "R,phase,n"


def test_a_table_too_wide_for_the_terminal_is_printed_in_parts(monkeypatch, capsys):
    columns = {
        f"a measure {place}": [f"{row}.{place:04}" for row in range(4)] for place in range(9)
    }
    table = pd.DataFrame({"data": ["x", "x", "y", "y"], "K_A": [1, 2, 1, 2], **columns})
    monkeypatch.setattr(Console, "is_terminal", True)
    for width in (40, 61, 200):
        monkeypatch.setenv("COLUMNS", str(width))
        report.print_table(table, "Wide")
        printed = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
        parts = printed.count("Wide")
        assert max(map(len, printed.splitlines())) <= width
        assert (parts == 1) == (width == 200) and printed.count("continued") == parts - 1
        # No number is folded, and each part names its rows.
        assert all(printed.count(f" {cell} ") == 1 for cell in table["a measure 7"])
        assert printed.count("K_A") == parts


def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def full_disk(file):
        file.write_text("half of the ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"cannot write .*table\.csv: No space left"):
        write_atomically(path, full_disk)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_new_file_keeps_one_that_exists(tmp_path):
    path = tmp_path / "plan.json"
    assert write_atomically(path, lambda file: file.write_text("first"), new=True)
    assert not write_atomically(path, lambda file: file.write_text("second"), new=True)
    assert path.read_text() == "first"
    assert write_atomically(path, lambda file: file.write_text("third"))
    assert path.read_text() == "third" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(OSError, match="results"):
        report.write_table(TABLE, tmp_path / "results")


def test_the_option_of_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    done = run_study("geodesic", "--preset", "quick", "--out", tmp_path / "results")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: --out: cannot write into {tmp_path / 'results'}: it is a file, not a folder\n",
    )
    done = run_study("geodesic", "--preset", "quick", "--out", tmp_path / "results" / "below")
    assert done.returncode == 2 and "error: --out: cannot write into the folder" in done.stderr
    report.prepare_folder(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_missing_and_corrupt_tables_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="table.parquet"):
        report.read_table(tmp_path)
    report.write_table(TABLE, tmp_path)
    whole = (tmp_path / "table.parquet").read_bytes()
    (tmp_path / "table.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        report.read_table(tmp_path)


def test_figures_are_written_in_both_formats_and_repeat(tmp_path):
    images = []
    for name in ("one", "two"):
        figure, axes = report.new_figure(1, 2, 4, 2)
        axes[0, 1].plot([1, 2], [3, 4], label="line", color=report.PALETTE[0])
        report.legend_outside(figure, axes[0, 1], columns=1)
        report.save_figure(figure, tmp_path, name)
        images.append((tmp_path / f"{name}.svg").read_bytes())
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert images[0] == images[1]


def test_provenance_says_how_to_repeat(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Config:
        seed: int = 3

    report.write_provenance(tmp_path, Config(), wall_time=1.25)
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["config"] == {"seed": 3} and record["wall_time_s"] == 1.25
    assert record["versions"]["jax"] and record["device"] and record["date"]
    assert {"command", "git", "x64"} <= record.keys()


@pytest.mark.parametrize(("width", "columns"), [(12, 3), (4, 2), (2, 1)])
def test_legends_keep_inside_the_figure(width, columns):
    figure, axes = report.new_figure(1, 1, width, 2)
    for place in range(3):
        axes[0, 0].plot([0, 1], label=f"a label of some length {place}")
    report.legend_outside(figure, axes[0, 0], columns=3)
    (legend,) = figure.legends
    figure.canvas.draw()
    box = legend.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width
    assert len({round(text.get_window_extent().x0) for text in legend.get_texts()}) == columns


def test_a_bar_ends_with_its_work_whatever_becomes_of_it():
    def inverse(number):
        return 1 / number

    before = set(threading.enumerate())
    for mapped in (report.map_with_bar, report.map_in_threads):
        assert mapped(inverse, (1, 2, 4), "numbers") == [1, 0.5, 0.25]
    # A bar that a stored traceback kept alive could wait for itself when collected.
    with pytest.raises(ZeroDivisionError) as failed:
        report.map_with_bar(inverse, (1, 0, 4), "numbers")
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()
    assert failed.tb is not None
