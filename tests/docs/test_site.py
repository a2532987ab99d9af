"""The documentation builds without a warning, lacks nothing, and needs no network."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("myst_nb")
inventory_module = pytest.importorskip("sphinx.util.inventory")

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ROOMS = (
    "nc_jax",
    "nc_jax.theory",
    "nc_jax.metrics",
    "nc_jax.design",
    "nc_jax.diagnosis",
    "nc_jax.bridges",
    "nc_jax.prediction",
    "nc_jax.sweeps",
    "nc_jax.experiments",
    "nc_jax.specs",
    "nc_jax.datasets",
    "nc_jax.training",
    "nc_jax.networks",
    "nc_jax.campaigns",
    "nc_jax.report",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages; notebooks are not run here, test_tutorials.py runs their code."""
    folder = tmp_path_factory.mktemp("site")
    # A reference that leads nowhere is a warning under -n, and -W makes warnings errors.
    options = ["-W", "-n", "-q", "-b", "html", "-D", "nb_execution_mode=off"]
    command = [sys.executable, "-m", "sphinx", *options, "-d", folder / "doctrees"]
    built = subprocess.run([*command, DOCS, folder / "html"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'(?:src="|<link [^>]*href="|url\()(https?:)?//', text)
        assert not loaded, page


def test_formulas_are_drawn_by_the_browser(site):
    page = (site / "mathematics" / "imbalance.html").read_text(encoding="utf-8")
    assert page.count("<math") > 50
    assert "<munder><mo>min</mo>" in (site / "tutorials" / "first_phase_diagram.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_an_entry(site, room):
    content = (site / "objects.inv").read_bytes()
    known = inventory_module.InventoryFile.loads(content, uri="")
    documented = {name for kind, entries in known.data.items() for name in entries}
    module = importlib.import_module(room)
    names = {f"{room}.{name}" for name in module.__all__}
    modules = {f"{room}.{n}" for n in module.__all__ if inspect.ismodule(getattr(module, n))}
    assert not names - modules - documented


def test_every_figure_is_in_the_gallery(site):
    shown = set(re.findall(r"^```\{result-figure\} (.*)$", (DOCS / "gallery.md").read_text(), re.M))
    results = ROOT / "results"
    committed = {str(path.relative_to(results)) for path in results.rglob("*.png")}
    # Results that a user made beside the committed ones are not the gallery's.
    assert shown <= committed
    tracked = subprocess.run(
        ["git", "ls-files", "results/*.png"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert {name.removeprefix("results/") for name in tracked} <= shown
    for name in shown:
        assert (site / "figures" / name).is_file()


def test_every_study_has_a_section_with_its_options(site):
    page = (site / "studies.html").read_text(encoding="utf-8")
    for study in (ROOT / "studies").glob("*.py"):
        assert f'id="study-{study.stem.replace("_", "-")}"' in page
    assert "--feature-energies" in page and "--learning-rate" in page
    # Options that two studies take from a class of their own.
    assert page.count("--even-batches") == 3 and page.count("--attention-heads") >= 1
