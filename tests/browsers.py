"""The browser of the tests of pages: an installed Chromium, driven by playwright."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
REASON = (
    "needs playwright (pip install 'nc-jax[browser]') and Chromium or Chrome as one of the "
    f"commands {', '.join(NAMES)} (Debian: apt install chromium)"
)


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium; the tests that use it are skipped with the reason without one."""
    driver = pytest.importorskip("playwright.sync_api", reason=REASON)
    if CHROMIUM is None:
        pytest.skip(REASON)
    with driver.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()
