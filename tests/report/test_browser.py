"""The page in a real browser: sorting, searching, reading a cell, no errors."""

import pytest

from nc_jax import report
from tests.browsers import browser
from tests.diagnoses import NAMES, made_diagnosis

__all__ = ["browser"]


@pytest.fixture
def page(browser, tmp_path):
    """The report, opened from disk without network; any error fails the test."""
    made = made_diagnosis()
    report.write_diagnosis(tmp_path, made, report.diagnosis_page("features.npz", made))
    context = browser.new_context(offline=True, accept_downloads=True)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((tmp_path / "report.html").as_uri())
    yield page
    context.close()
    assert not wrong


def column(page, place):
    return page.locator(f"#rows tbody td:nth-child({place})").all_inner_texts()


def test_the_table_sorts_searches_and_filters(page):
    assert column(page, 1) == NAMES[::-1]
    page.get_by_role("button", name="samples").click()
    assert column(page, 2) == ["3,000", "2,000", "40", "30", "20"]
    page.get_by_role("button", name="samples").focus()
    page.keyboard.press("Enter")
    assert column(page, 2) == ["20", "30", "40", "2,000", "3,000"]
    page.get_by_label("Search by name").fill("KITTEN")
    assert column(page, 1) == [NAMES[1]]
    page.get_by_label("Search by name").fill("")
    page.get_by_label("State").select_option("merged")
    assert column(page, 7) == ["0.973", "0.973"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 3 and lines[1].startswith("a|b*c*,30,")


def test_cells_of_the_heat_map_are_read_by_pointer_and_keys(page):
    readout = page.locator("#heat .readout")
    canvas = page.locator("#heat canvas").first
    box = canvas.bounding_box()
    # The last row and the one before it: the two smallest classes.
    canvas.hover(position={"x": box["width"] - 3, "y": box["height"] * 0.8})
    said = "a|b*c* (30 samples) and été (20 samples). measured: 0.876; Layer-Peeled Model: 1.000."
    assert readout.inner_text() == said
    page.get_by_label("Order", exact=True).select_option(label="similar ones together")
    canvas.focus()
    page.keyboard.press("ArrowDown")
    assert "measured: 1.000" in readout.inner_text()
    page.keyboard.press("ArrowRight")
    assert readout.inner_text().count("samples") == 2


def test_the_curve_is_read_by_keys(page):
    page.locator("[data-chart] svg").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    text = page.locator("[data-chart] .readout").inner_text()
    assert "smallest class 20. model: 1.000." in text


def test_the_page_fits_a_phone_and_both_colour_schemes(page):
    grounds = set()
    page.set_viewport_size({"width": 360, "height": 740})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
