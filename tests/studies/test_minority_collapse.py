"""The study of networks on imbalanced data, run as a user runs it, on a few images."""

import pandas as pd

from tests.studies.test_factored_studies import run_study

SMALL = ["--majority", 5, "--majority-size", 12, "--ratios", 1, 6, "--epochs", 6, "--measures", 2]


def test_networks_are_laid_beside_the_model(tmp_path):
    arguments = ["minority_collapse", "--out", tmp_path, "--width", 0.05, *SMALL]
    done = run_study(*arguments)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "table.parquet")
    assert table["ratio"].tolist() == [1, 6] and table["minority_size"].tolist() == [12, 2]
    assert table["minority_cosine"].between(-1, 1).all()
    assert abs(table["predicted_cosine"][0] + 1 / 9) < 1e-6
    assert pd.read_parquet(tmp_path / "training.parquet")["epoch"].tolist() == [3, 6, 3, 6]
    assert (tmp_path / "overlay.png").stat().st_size > 10_000
    # What was done is read back.
    again = run_study(*arguments)
    assert again.returncode == 0, again.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_bad_options_are_one_line(tmp_path):
    for arguments, named in [
        (["--ratios", 1, 1000], "--ratios"),
        (["--networks", "alexnet"], "--networks"),
        (["--majority", 9], "--majority"),
        (["--data", "mnist", "--data-dir", tmp_path / "nowhere"], "nowhere is not a folder"),
    ]:
        done = run_study("minority_collapse", "--out", tmp_path, *arguments)
        assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr
