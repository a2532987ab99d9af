"""The code of the how-to pages runs, each page as one program."""

import re
from pathlib import Path

import pytest

from nc_jax.networks.build import NETWORKS

PAGES = Path(__file__).resolve().parents[2] / "docs" / "how_to"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def networks_kept():
    """Forgets the networks that a page adds."""
    kept = dict(NETWORKS)
    yield
    NETWORKS.clear()
    NETWORKS.update(kept)


@pytest.mark.parametrize(
    "page", sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "index")
)
@pytest.mark.usefixtures("networks_kept")
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = PAGES / f"{page}.md"
    blocks = BLOCK.findall(path.read_text(encoding="utf-8"))
    assert blocks, f"{page} has no code"
    exec(compile("\n".join(blocks), str(path), "exec"), {"__name__": page})
