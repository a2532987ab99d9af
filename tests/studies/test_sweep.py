"""The sweep study, run as a user runs it."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from tests.running import ROOT, run_study, start_study

SPEC = """
outputs = ["gap", "phase", "minority_cosine"]
chunk = 20
[model]
num_classes = 4
[axes]
majority = [1, 2]
budget = {linspace = [1.0, 3.0, 5]}
ratio = {logspace = [1.0, 1e3, 9]}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    (folder / "spec.toml").write_text(SPEC)
    done = start_study("sweep", "run", folder / "spec.toml", "--store", folder / "store")
    assert done.returncode == 0, done.stderr
    assert "90 points in 6 chunks" in done.stdout
    return folder


def sweep(folder, command, *arguments):
    return run_study(
        "sweep", command, folder / "spec.toml", "--store", folder / "store", *arguments
    )


def test_status_export_plot_and_resume(swept):
    found = sweep(swept, "status")
    assert found.returncode == 0 and "3 of 3" in found.stdout
    for suffix in ("csv", "parquet", "md"):
        to = swept / f"table.{suffix}"
        assert sweep(swept, "export", "--to", to).returncode == 0
        assert to.stat().st_size > 1000
    rows = pd.read_csv(swept / "table.csv")
    assert len(rows) == 90 and (rows["gap"] < 1e-9).all()
    pd.testing.assert_frame_equal(rows.drop(columns="point"),
                                  pd.read_parquet(swept / "table.parquet").drop(columns="point"),
                                  check_dtype=False)  # fmt: skip
    for over in (["ratio"], ["budget", "ratio"]):
        to = swept / f"{len(over)}.png"
        done = sweep(swept, "plot", "--output", "minority_cosine", "--over", *over, "--to", to)
        assert done.returncode == 0, done.stderr
        assert to.stat().st_size > 10_000
    again = sweep(swept, "resume")
    assert again.returncode == 0 and "6 chunks were already stored" in again.stdout


def test_a_coarse_map_without_loading_the_table(swept):
    to = swept / "coarse.csv"
    done = sweep(swept, "aggregate", "--cells", "2", "4", "--to", to)
    assert done.returncode == 0 and "90 points in 8 cells" in done.stdout, done.stderr
    found, rows = pd.read_csv(to), pd.read_csv(swept / "table.csv")
    # The third of five budgets lies on the edge; a cell includes its lower edge.
    assert found["points"].tolist() == [8, 8, 8, 12, 12, 12, 12, 18]
    low = rows[(rows["budget"] < 2) & (rows["ratio"] < 5)]
    assert found["minority_cosine_mean"][0] == pytest.approx(low["minority_cosine"].mean())
    assert found["gap_max"].max() == pytest.approx(rows["gap"].max(), abs=1e-15)
    done = sweep(swept, "plot", "--output", "minority_cosine", "--cells", "3", "--to",
                 swept / "coarse.png")  # fmt: skip
    assert done.returncode == 0 and (swept / "coarse.png").stat().st_size > 10_000
    done = sweep(swept, "aggregate", "--cells", "0")
    assert done.returncode == 2 and "--cells must be" in done.stderr


def test_a_changed_spec_is_refused(swept):
    (swept / "changed.toml").write_text(SPEC.replace("num_classes = 4", "num_classes = 5"))
    done = run_study("sweep", "run", swept / "changed.toml", "--store", swept / "store")
    assert done.returncode == 2 and "another sweep" in done.stderr


def test_other_code_is_refused_unless_asked_for(tmp_path):
    """The package is copied and changed, as by an update between two starts."""
    shutil.copytree(ROOT / "nc_jax", tmp_path / "nc_jax", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "spec.toml").write_text(SPEC.replace("[1, 2]", "[1]"))

    def sweep_with(*options, command="run"):
        command = [sys.executable, ROOT / "studies" / "sweep.py", command, "spec.toml"]
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run([*command, "--store", "store", *options], cwd=tmp_path,
                              env=environment, capture_output=True, text=True)  # fmt: skip

    done = sweep_with()
    assert done.returncode == 0 and "45 points in 3 chunks" in done.stdout, done.stderr
    parts = sorted((tmp_path / "store" / "parts").iterdir())
    parts[0].unlink()
    changed = tmp_path / "nc_jax" / "losses" / "standard.py"
    changed.write_text(changed.read_text() + "# changed\n")
    done = sweep_with()
    assert done.returncode == 2 and "another version of the code" in done.stderr
    assert sorted((tmp_path / "store" / "parts").iterdir()) == parts[1:]
    for command in ("plan", "status"):
        assert "filled by another version" in sweep_with(command=command).stdout, command
    done = sweep_with("--any-code", "True")
    assert done.returncode == 0 and "20 points in 1 chunks" in done.stdout, done.stderr
    assert "2 chunks were already stored" in done.stdout
    assert "rows of 2 versions of the code" in sweep_with(command="status").stdout
    assert set((tmp_path / "store" / "parts").iterdir()) > set(parts[1:])


def test_plan_estimates(swept):
    done = sweep(swept, "plan")
    assert done.returncode == 0 and "90 points are already stored" in done.stdout


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("ratio = ", "ratios = "), "ratios"),
        (("majority = [1, 2]", "majority = [1, 4]"), "majority must be from 1 to num_classes"),
        (("chunk = 20", 'store = "/proc/no/such"'), "/proc"),
    ],
)
def test_bad_specs_are_one_line(tmp_path, change, named):
    (tmp_path / "spec.toml").write_text(SPEC.replace(*change))
    done = run_study("sweep", "run", tmp_path / "spec.toml")
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr
