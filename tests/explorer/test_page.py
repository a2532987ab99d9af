"""The page in a real browser: every control does what it says, and nothing leaves the machine."""

import io
from urllib.parse import urlsplit

import numpy as np
import pytest

import nc_jax as nc
from tests.browsers import browser
from tests.explorer.serving import fetch

__all__ = ["browser"]
# Compilations on a busy machine.
PATIENCE = 240_000


class Watched:
    """A page, with what it said to the console and whom it asked."""

    def __init__(self, page):
        self.page, self.errors, self.hosts = page, [], set()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self.listen)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname))

    def listen(self, message):
        # The browser itself reports every answer of 422, which bad input is meant to get.
        if message.type == "error" and "422" not in message.text:
            self.errors.append(message.text)

    def painted(self):
        return int(self.page.locator("#map-status").get_attribute("data-painted"))

    def wait_painted(self, count):
        self.page.locator(f'#map-status[data-painted="{count}"]').wait_for(timeout=PATIENCE)

    def picture(self):
        return self.page.evaluate("document.querySelector('#map canvas').toDataURL()")


@pytest.fixture
def watched(browser, address):
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(PATIENCE)
    watched = Watched(context.new_page())
    watched.page.goto(address)
    watched.page.locator("#cloud .classifier").first.wait_for()
    yield watched
    assert watched.errors == []
    assert watched.hosts <= {"127.0.0.1", None}
    context.close()


def test_a_slider_changes_the_picture(watched):
    before, count = watched.picture(), watched.painted()
    watched.page.locator("input[data-of=majority]").press("ArrowRight")
    watched.wait_painted(count + 1)
    assert watched.picture() != before
    assert watched.page.locator("#majority").input_value() == "6"
    status = watched.page.locator("#map-status").inner_text()
    assert status.startswith("40,000 programs solved and certified")


def test_a_click_and_the_keys_take_a_point(watched):
    page = watched.page
    page.locator("#map").click(position={"x": 90, "y": 60})
    page.locator("#point-phase strong", has_text="separated").wait_for()
    assert float(page.locator("#ratio").input_value()) < 2
    page.locator("#map").focus()
    for _ in range(20):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#point-phase strong", has_text="vanished").wait_for()
    assert page.locator("#point-facts").inner_text().count("does not exist") == 1


def test_typed_sizes_are_solved_and_the_code_reproduces_them(watched):
    page = watched.page
    page.locator("#tab-sizes").click()
    page.locator("#sizes").fill("50; 50\n4 4 4")
    page.locator("#solve-sizes").click()
    page.get_by_role("cell", name="size 50", exact=True).wait_for()
    assert page.locator("#cloud .classifier").count() == 5
    page.locator("#curve-reading", has_text="two smallest classes").wait_for(timeout=PATIENCE)
    assert page.locator("#curve .line-small").count() == 1
    assert page.locator("#curve-reading").inner_text().startswith("R = 12.5: two largest classes")
    page.locator("#sizes").fill("3 3 3")
    page.locator("#solve-sizes").click()
    page.locator("#curve-reading", has_text="no imbalance to vary").wait_for(timeout=PATIENCE)
    page.locator("#sizes").fill("50; 50\n4 4 4")
    page.locator("#solve-sizes").click()
    page.locator("#curve .line-small").wait_for(timeout=PATIENCE)
    page.locator("#copy").click()
    page.locator("#copy", has_text="Copied").wait_for()
    names = {}
    exec(page.evaluate("navigator.clipboard.readText()"), names)
    solution = nc.solve(nc.LayerPeeled([50, 50, 4, 4, 4], 2.0, 2.0))
    np.testing.assert_array_equal(names["solution"].objective, solution.objective)


def test_nonsense_gets_a_sentence_beside_the_field_and_the_page_goes_on(watched):
    page, count = watched.page, watched.painted()
    page.locator("#classes").fill("1")
    page.locator("#classes-error", has_text="number from 2").wait_for()
    assert page.locator("#classes").get_attribute("aria-invalid") == "true"
    page.locator("#classes").fill("12")
    watched.wait_painted(count + 1)
    assert page.locator("#classes-error").inner_text() == ""


def drop(page, name, body):
    """Drops a file onto the page."""
    transfer = page.evaluate_handle(
        """([name, body]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(body)], name));
            return transfer;
        }""",
        [name, list(body)],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


@pytest.fixture(scope="module")
def features():
    """A file of four equally large classes, far apart."""
    labels = np.arange(40) % 4
    file = io.BytesIO()
    np.savez(file, features=np.eye(4)[labels] + 0.01 * np.arange(160).reshape(40, 4), labels=labels)
    return file.getvalue()


def test_a_dropped_file_gets_its_report_and_a_broken_one_a_sentence(watched, features):
    page = watched.page
    drop(page, "mine.npz", features)
    report = page.frame_locator("iframe[title='Diagnosis of mine.npz']")
    report.locator(".verdict").wait_for()
    assert "40 samples of 4 classes" in report.locator(".source").inner_text()
    assert report.locator("#rows tbody tr").count() == 4
    for press in (
        page.get_by_role("link", name="Download this report"),
        report.get_by_role("button", name="Download CSV"),
    ):
        with page.expect_download() as download:
            press.click()
        assert download.value.failure() is None
    drop(page, "broken.npz", b"PK\x03\x04")
    page.locator("#file-error", has_text="broken.npz").wait_for()
    assert page.locator("iframe").count() == 0
    page.locator("#weight_decay").fill("much")
    drop(page, "mine.npz", features)
    page.locator("#weight_decay-error", has_text="must be a number").wait_for()
    assert page.locator("#file-error").inner_text() == ""


def test_a_report_follows_the_switch_of_light_and_dark(watched, features):
    page = watched.page
    page.emulate_media(color_scheme="light")
    drop(page, "mine.npz", features)
    report = page.frame_locator("iframe")
    report.locator(".verdict").wait_for()
    page.locator("iframe").scroll_into_view_if_needed()
    for _ in range(2):
        page.locator("#theme").click()
        theme = page.evaluate("document.documentElement.dataset.theme")
        report.locator(f"html[data-theme={theme}]").wait_for(state="attached")
        ground = report.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        assert ground == {"light": "rgb(244, 245, 247)", "dark": "rgb(19, 23, 27)"}[theme]


def test_a_report_cannot_reach_the_page_around_it(watched, features):
    drop(watched.page, "mine.npz", features)
    watched.page.frame_locator("iframe").locator(".verdict").wait_for()
    (frame,) = watched.page.main_frame.child_frames
    assert frame.evaluate("window.origin") == "null"
    reach = "try { parent.document.title } catch (error) { error.name }"
    assert frame.evaluate(reach) == "SecurityError"


@pytest.mark.parametrize("kind", ["PNG", "SVG", "CSV"])
def test_pictures_and_tables_can_be_kept(watched, kind):
    with watched.page.expect_download() as download:
        watched.page.get_by_label(f"Download phase-map as {kind}").click()
    body = download.value.path().read_bytes()
    if kind == "CSV":
        assert len(body.splitlines()) == 1 + 200**2
    start = {"PNG": b"\x89PNG", "SVG": b"<svg", "CSV": b"ratio_R,budget_E,phase"}
    assert body.startswith(start[kind])


def test_the_colours_follow_the_system_and_the_button(browser, address):
    page = browser.new_page(color_scheme="dark")
    page.goto(address)
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.locator("#theme").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
    page.close()


def test_a_narrow_screen_needs_no_sideways_scrolling(browser, address):
    page = browser.new_page(viewport={"width": 360, "height": 780})
    page.goto(address)
    page.locator("#cloud .classifier").first.wait_for(timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


def test_every_script_that_the_page_names_is_served(address):
    for name in ("api", "cloud", "colours", "controls", "curve", "exports", "features", "gram"):
        assert fetch(f"{address}/page/{name}.js")[0] == 200
