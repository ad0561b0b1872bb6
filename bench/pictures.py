"""`python -m bench.pictures`: the pictures of the page in docs/pictures, from the demo's sample mail, in Chromium.

They are made anew if the page changes. Chromium and chromedriver are Debian's (`chromium`, `chromium-driver`).
"""

from __future__ import annotations

import contextlib
import math
import random
import re
import signal
import smtplib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

from tests.support.chromium import Chromium, chromium

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

SECONDS = 120.0
"""Longest wait for the demo's samples."""

MAIL_SECONDS = 75.0
"""How long mail is sent, so that the charts of the first view have something to show."""

SENDERS = ("alice@staff.example", "dave@staff.example", "", "rita@cautious.example", "phantom@staff.example")


def main() -> None:
    """Run the demo, and take the pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryFile("w+") as shown:
        demo = subprocess.Popen([sys.executable, "-m", "proxy.cli", "demo"], stdout=shown)
        try:
            link, port = _seen(shown, demo)
            _send(port)
            with chromium() as browser:
                _take(browser, link)
        finally:
            demo.send_signal(signal.SIGINT)
            demo.wait()


def _seen(shown: IO[str], demo: subprocess.Popen[bytes]) -> tuple[str, int]:
    """Return the link and the port that the demo shows."""
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends and demo.poll() is None:
        shown.seek(0)
        text = shown.read()
        link = re.search(r"http://\S+/login/\S+", text)
        port = re.search(r"swaks --server \S+:(\d+)", text)
        if link is not None and port is not None:
            return link[0], int(port[1])
        time.sleep(0.2)
    raise SystemExit("the demo showed no link")


def _send(port: int) -> None:
    """Send mail, now more and now less, most of it from senders who exist."""
    draw = random.Random(7)
    began = time.monotonic()
    while (past := time.monotonic() - began) < MAIL_SECONDS:
        with contextlib.suppress(smtplib.SMTPException), smtplib.SMTP("127.0.0.1", port) as client:
            sender = draw.choices(SENDERS, (6, 4, 1, 2, 3))[0]
            client.sendmail(sender, "anna@example.com", "Subject: hello\r\n\r\nA line.\r\n")
        time.sleep(0.05 + 0.12 * (1 + math.sin(past / 6)))


def _take(browser: Chromium, link: str) -> None:
    address = link.partition("/login/")[0]
    browser.look(width=1280, dark=False, height=900)
    browser.open(link)
    for name, dark in (("", False), ("-dark", True)):
        browser.look(width=1280, dark=dark, height=900)
        browser.open(f"{address}/now")
        browser.picture(FOLDER / f"now{name}.webp")
        browser.open(f"{address}/live")
        browser.picture(FOLDER / f"live{name}.webp", height=1000)
        browser.open(f"{address}/why?q=ghost@staff.example")
        browser.picture(FOLDER / f"why{name}.webp")
        sessions = browser.run("return [...document.querySelectorAll('a.go')].map((each) => each.href)")
        browser.open(sessions[-1])
        browser.picture(FOLDER / f"session{name}.webp")
    browser.look(width=400, dark=False, height=900)
    browser.picture(FOLDER / "session-narrow.webp", height=1600)
    browser.open(f"{address}/why?q=alice@staff.example")
    sessions = browser.run("return [...document.querySelectorAll('a.go')].map((each) => each.href)")
    browser.look(width=1280, dark=False, height=900)
    browser.open(sessions[-1])
    browser.picture(FOLDER / "session-relayed.webp")


if __name__ == "__main__":
    main()
