"""The code of the how-to pages and of the README runs, each page as one program."""

import re
from pathlib import Path

import jax
import pytest

from nc_jax.datasets import DATA_SETS
from nc_jax.networks.build import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how_to"
PAGES = [ROOT / "README.md", *sorted(set(HOW_TO.glob("*.md")) - {HOW_TO / "index.md"})]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def names_kept():
    """Forgets the networks and data sets that a page adds."""
    tables = NETWORKS, DATA_SETS
    kept = [dict(table) for table in tables]
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("names_kept")
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert blocks, f"{page} has no code"
    # A reader's JAX promotes dtypes; only the package itself is tested without.
    with jax.numpy_dtype_promotion("standard"):
        exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": page.stem})
