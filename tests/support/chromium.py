"""Debian's Chromium without a window, and what a test asks of a page in it: boxes, contrast, violations."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.support.programs import find_program

_FOLDER = Path(__file__).parent

WATCH = (_FOLDER / "page_watch.js").read_text()

BOXES = (_FOLDER / "page_boxes.js").read_text()

CONTRAST = (_FOLDER / "page_contrast.js").read_text()


_KIND = {"format": "webp", "quality": 90}


class Chromium:
    """One browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        driver.execute_cdp_cmd("Page.enable", {})
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})

    def look(self, *, width: int, dark: bool, height: int = 3000) -> None:
        """Have a window of this width, in light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def open(self, url: str) -> None:
        """Load a page."""
        self.driver.get(url)

    def run(self, script: str) -> Any:
        """Run a script in the page. The page's policy does not apply to it."""
        return self.driver.execute_script(script)

    def picture(self, file: Path, *, height: int = 4000) -> None:
        """Save what the page shows as WebP, down to a height."""
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], height), "scale": 1}
        found = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip, **_KIND}
        )
        file.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """Return violations of the policy, errors, and what the browser logged since the last time."""
        logged = [each["message"] for each in self.driver.get_log("browser")]
        return [*self.run("return window.seen || []"), *logged]


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Run a browser."""
    options = webdriver.ChromeOptions()
    options.binary_location = find_program("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    words = ["headless=new", "disable-gpu", "hide-scrollbars", "disable-dev-shm-usage", "no-first-run",
             "disable-background-networking", "disable-component-update", "disable-sync", "no-default-browser-check",
             "force-color-profile=srgb"]  # fmt: skip
    for each in words + (["no-sandbox"] if os.geteuid() == 0 else []):
        options.add_argument(f"--{each}")
    driver = webdriver.Chrome(options=options, service=Service(find_program("chromedriver")))
    try:
        yield Chromium(driver)
    finally:
        driver.quit()
