"""The page of the bridges: its blocks run one after another, as a reader would run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bridges.md"


def test_every_block_of_the_page_runs(tmp_path):
    pytest.importorskip("torch", reason="the page shows PyTorch")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert len(blocks) >= 10
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "features.npz").exists() and (tmp_path / "collapse.csv").exists()
