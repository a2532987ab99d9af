"""The README stays short, and what it points to exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TARGET = re.compile(r"\]\(([^)#]+)[^)]*\)|<img src=\"([^\"]+)\"")


def test_two_hundred_lines_at_most():
    assert len(README.splitlines()) <= 200


def test_links_and_pictures_exist():
    targets = [link or picture for link, picture in TARGET.findall(README)]
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert len(targets) > 40 and not missing


def test_every_study_has_its_line_and_its_page():
    for study in (ROOT / "studies").glob("*.py"):
        assert f"[{study.stem}](docs/findings/{study.stem}.md)" in README
