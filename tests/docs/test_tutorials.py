"""The code of the tutorials runs, each page as one program."""

import re
from pathlib import Path
from typing import Any

import jax
import pytest

pytest.importorskip("matplotlib")

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "start.md", *sorted(set((DOCS / "tutorials").glob("*.md")))]
PAGES.remove(DOCS / "tutorials" / "index.md")
# Cells of a notebook and the other Python blocks; lines that begin with a colon are options.
BLOCK = re.compile(
    r"^```(?:python|\{code-cell\} ipython3)\n(?::[^\n]*\n)*(.*?)^```$", re.MULTILINE | re.DOTALL
)


def program_of(page):
    """All code of a page; what only a notebook understands is left out."""
    code = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    return re.sub(r"^%.*$", "", code, flags=re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A reader's JAX promotes dtypes; only the package itself is tested without.
    with jax.numpy_dtype_promotion("standard"):
        names: dict[str, Any] = {"__name__": page.stem}
        exec(compile(program_of(page), str(page), "exec"), names)
    assert all(axes.has_data() for axes in names["figure"].axes), f"{page} draws nothing"
