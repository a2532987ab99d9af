"""How long after a move of a slider the explorer's new phase map stands on the screen.

    python -m benchmarks.explorer
    python -m benchmarks.explorer --moves 100 --chromium /usr/bin/chromium

Starts the explorer, moves the slider of K_A in a headless Chromium, one key press at a
time, and reports the time from the slider's input event until the frame after the new
map was painted, with the server's own part of it: 40,000 certified programs a move. The
first maps, which wait for the compiler, are left out. Needs the extra ``browser``.
"""

import dataclasses
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nc_jax import report


@dataclasses.dataclass(frozen=True)
class Config:
    """What to measure."""

    moves: int = 60
    """Measured moves of the slider."""
    warm_up: int = 10
    """Moves before them."""
    pause: float = 0.3
    """Seconds between moves, in which the point's panels are solved too."""
    chromium: str = ""
    """The browser's program; by default the first Chromium found."""
    out: Path = Path("results/benchmarks/explorer")
    """Folder of the results."""


PRESETS = {"default": Config(), "quick": Config(moves=10, warm_up=3)}


def measure(page: Any, config: Config) -> list[tuple[float, float]]:
    """Milliseconds until the picture, and of the server's solves, for each move."""
    status, slider = page.locator("#map-status"), page.locator("input[data-of=majority]")
    page.locator("#cloud .classifier").first.wait_for(timeout=300_000)
    rows = []
    for move in range(config.warm_up + config.moves):
        before = int(status.get_attribute("data-painted") or 0)
        # Four steps up and four down, so that every move makes another map.
        slider.press("ArrowRight" if move // 4 % 2 == 0 else "ArrowLeft")
        page.locator(f'#map-status[data-painted="{before + 1}"]').wait_for(timeout=60_000)
        numbers = (status.get_attribute(f"data-{name}") for name in ("latency", "solver"))
        first, second = (float(number or "nan") for number in numbers)
        rows.append((first, second))
        time.sleep(config.pause)
    return rows[config.warm_up :]


def _browser_driver() -> Any:
    """Playwright's synchronous interface; ValueError if it is not installed."""
    try:
        return importlib.import_module("playwright.sync_api")
    except ImportError as error:
        raise ValueError(
            "this benchmark needs the extra browser: pip install 'nc-jax[browser]'"
        ) from error


def main(config: Config) -> None:
    """Measures, prints, and stores one table."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = config.chromium or next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        raise ValueError("--chromium must be the path of a Chromium; none was found")
    driver = _browser_driver()
    report.prepare_folder(config.out)
    start = time.perf_counter()
    load = os.getloadavg()[0]
    command = [sys.executable, "-m", "nc_jax.explorer", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            found: Any = re.search(r"http://\S+", server.stdout.readline() if server.stdout else "")
            with driver.sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path=browser, args=["--no-sandbox"]
                )
                page = chromium.new_page(viewport={"width": 1360, "height": 1000})
                page.goto(found[0])
                rows = np.asarray(measure(page, config))
                chromium.close()
        finally:
            server.terminate()
    table = pd.DataFrame(
        {
            "time": ["slider to screen", "of it the server's solves"],
            "median (ms)": np.median(rows, axis=0).round(1),
            "95th percentile (ms)": np.percentile(rows, 95, axis=0).round(1),
            "least (ms)": rows.min(axis=0).round(1),
        }
    )
    report.write_summary(table, config.out)
    report.write_provenance(config.out, config, time.perf_counter() - start)
    report.print_table(table, f"{len(rows)} moves, 40,000 certified programs each")
    print(f"{os.cpu_count()} cores; load average before {load:.1f}, after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    report.run_command(PRESETS, main, __doc__ or "", keep_programs=False)
