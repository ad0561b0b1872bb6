"""The page in Debian's Chromium: nothing overlaps, nothing runs, nothing is hidden, and the keyboard is enough."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from proxy.metrics.table import BREAKERS, CALLBACKS, EXPIRY, LIMIT_HITS, MESSAGES, REFUSALS, UP, UPSTREAM_ERRORS
from proxy.page import routes
from tests.support.chromium import BOXES, CONTRAST, Chromium, chromium
from tests.support.histories import CLIENT, NOW, line, mail_lines, refusal_line, session_line, settings, write
from tests.support.pages import HOSTILE, OpenPage, opened
from tests.support.waiting import eventually_answered

pytestmark = [pytest.mark.real("chromium", "chromedriver")]

LOOKS = [(1280, False), (1280, True), (400, False), (400, True)]
SESSION = "1p5qk300000-1f3a"


@pytest.fixture(scope="module")
def window() -> Iterator[Chromium]:
    with chromium() as found:
        yield found


def every_field(words: str, number: int) -> list[bytes]:
    """Return events of a session in which a stranger wrote the same words everywhere."""
    session = f"1p5qk3{number:05d}-1f3a"
    who = {"client": CLIENT["client"], "helo": words, "tls": "TLSv1.3", "cipher": words, "user": words}
    fate = {"phase": "mailfrom", "disposition": "refused", "decided_by": f"script {words}:3", "code": 550,
            "enhanced": "", "reply": f"550 {words}", "upstream": "", "taken_by": "", "queue_id": words}  # fmt: skip
    called = {"callback_status": "fail", "callback_reason": "no_such_user", "callback_text": words}
    lines = ["S: 220 mx", f"C: EHLO {words}", "S: 250 mx", f"C: MAIL FROM:<{words}>", f"S: 550 {words}"]
    probe = {"session": session, "address": words, "sender": words, "status": "fail", "reason": "no_such_user",
             "stage": "rcpt", "code": 550, "text": words, "exchanger": words, "ip": "192.0.2.9", "tls": False,
             "seconds": 0.5}  # fmt: skip
    return [
        line("probe", NOW, **probe),
        line("probe_dialogue", NOW, session=session, address=words, conversation=f"1 S: 220 {words}\n2 C: {words}"),
        line("dialogue", NOW, session=session, client=who["client"], lines=lines),
        line("refused", NOW, session=session, **who, command="MAIL", argument=f"FROM:<{words}>", **fate, **called),
        refusal_line(session, words, NOW, number=2, sender=words, reply=f"451 {words}", disposition="deferred"),
        *mail_lines(session, 3, sender=words, recipients=[words] * 3, queue_id=words, message_id=words, at=NOW + 1),
        line("tls_failed", NOW + 1, session=session, client=who["client"], reason=words),
        session_line(session, helo=words, via=words, seconds=2.0),
    ]


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[OpenPage]:
    """A page that has something of everything, and hostile words in all of it."""
    lines = [each for number, words in enumerate(HOSTILE) for each in every_field(words, number)]
    plain = [*mail_lines("1p5qk300099-1f3a"), session_line("1p5qk300099-1f3a")]
    write(settings(tmp_path), *lines, *plain)
    names = {"listener": ["127.0.0.1:25"], "upstream": ["mail.test:25", HOSTILE[0], "b" * 60], "script": [],
             "certificate": ["/etc/mx.pem", "/etc/old.pem"]}  # fmt: skip
    async with opened(tmp_path, names=names) as made:
        made.show(*lines, *plain)
        counts = made.board.blocks[1].counts
        for metric in (MESSAGES, CALLBACKS, REFUSALS, LIMIT_HITS):
            for at in range(metric.base, metric.base + metric.size):
                counts[at] = (at * 7919) % 100_000
        counts[BREAKERS.base], counts[UP.base], counts[UP.base + 1] = 3, 1, 2
        counts[EXPIRY.base], counts[EXPIRY.base + 1] = 4_000_000_000, 1_000_000_000
        for at in range(UPSTREAM_ERRORS.base, UPSTREAM_ERRORS.base + 5):
            counts[at] = 12_345
        made.page._sampler.look()
        yield made


async def _in_browser(work: Any, *arguments: Any) -> Any:
    """Use the browser in a thread: the page is served by this loop."""
    return await asyncio.to_thread(work, *arguments)


_EXAMPLES = {
    "/why": ("", "?q=sender.test", f"?q={SESSION}", "?q=198.51.100.99"),
    "/session/{id}": ("none", *(f"1p5qk3{number:05d}-1f3a" for number in range(len(HOSTILE))), "1p5qk300099-1f3a"),
    "/running/{id}": ("none",),
}
"""What follows a path in the pages that are looked at."""

_NO_PAGES = frozenset({"/", "/operate", "/login/{secret}", "/logout", "/static/{name}"})

LOOKED_AT = [
    path.partition("{")[0] + each
    for path in routes.PATHS if path not in _NO_PAGES and not path.startswith("/stream/")
    for each in _EXAMPLES.get(path, ("",))
]  # fmt: skip
"""Every page of `proxy/page/routes.py`."""


@pytest.mark.parametrize(("width", "dark"), LOOKS)
async def test_nothing_overlaps_or_leaves_the_window_and_everything_can_be_read(
    page: OpenPage, window: Chromium, width: int, *, dark: bool
) -> None:
    def look() -> list[str]:
        window.look(width=width, dark=dark)
        window.open(page.link())
        found = []
        for path in LOOKED_AT:
            window.open(page.address + path)
            count, problems = window.run(BOXES)
            assert count > 3, path
            found += [f"{path}: {each}" for each in (*problems, *window.run(CONTRAST), *window.complaints())]
        return [each for each in found if "404" not in each]

    assert await _in_browser(look) == []


async def test_the_comparison_of_boxes_notices_what_is_ugly(page: OpenPage, window: Chromium) -> None:
    def look(ruin: str) -> int:
        window.open(page.address + f"/session/{SESSION}")
        window.run(ruin)
        return len(window.run(BOXES)[1])

    await _in_browser(lambda: window.look(width=1280, dark=False))
    await _in_browser(window.open, page.link())
    assert await _in_browser(look, "") == 0
    for ruin in (
        "document.querySelector('h1').style.marginTop = '-18px'",
        "document.querySelector('.card').style.marginLeft = '1200px'",
        "document.querySelector('.steps').style.marginTop = '-60px'",
        "document.querySelector('.quote').style.width = '1400px'",
    ):
        assert await _in_browser(look, ruin) > 0, ruin


async def test_no_words_of_a_stranger_become_markup(page: OpenPage, window: Chromium) -> None:
    def look() -> list[str]:
        window.look(width=1280, dark=False)
        window.open(page.link())
        found = []
        for path in LOOKED_AT:
            window.open(page.address + path)
            found += window.run(
                "return [...document.querySelectorAll('main script, main img, main [onerror], main [onmouseover], "
                "main [style], main iframe')].map((each) => each.outerHTML)"
            )
            text = window.run("return document.body.textContent")
            bad = [each for each in text if not each.isprintable() and each not in "\n\u2009"]
            found += [f"{path}: {each!r}" for each in bad]
            found += window.run(
                "return [...document.querySelectorAll('a')].map((a) => a.href).filter((url) => "
                "!url.startsWith(location.origin))"
            )
        return found

    assert await _in_browser(look) == []


async def test_the_numbers_and_the_sessions_move_and_can_be_paused(page: OpenPage, window: Chromium) -> None:
    def shown(selector: str) -> str:
        return str(window.run(f"return document.querySelector('{selector}').innerText"))

    await _in_browser(window.open, page.link())
    await _in_browser(window.open, page.address + "/live")
    await _in_browser(window.complaints)  # of other tests
    page.show(*mail_lines("new-session-1", sender="moving@sender.test"))

    async def moved() -> bool:
        return "moving@sender.test" in await _in_browser(shown, "#part-rows")

    await eventually_answered(moved, "a new session is shown")
    await _in_browser(lambda: window.driver.switch_to.active_element.send_keys("p"))
    assert await _in_browser(shown, "[data-pause]") == "Go on"
    page.show(*mail_lines("new-session-2", sender="paused@sender.test"))
    await asyncio.sleep(0)
    await _in_browser(lambda: window.driver.find_element("css selector", "[data-pause]").click())

    async def caught_up() -> bool:
        return "paused@sender.test" in await _in_browser(shown, "#part-rows")

    await eventually_answered(caught_up, "what came meanwhile is shown")
    assert await _in_browser(window.complaints) == []


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: OpenPage, window: Chromium) -> None:
    def walk(path: str) -> tuple[list[str], list[str]]:
        window.open(page.address + path)
        wanted = window.run(
            "return [...document.querySelectorAll('a, button, input, select, [tabindex=\"0\"]')]"
            ".filter((each) => each.type !== 'hidden' && each.getClientRects().length)"
            ".map((each, at) => { each.dataset.walk = at; return String(at); })"
        )
        window.run("document.activeElement.blur(); window.getSelection().removeAllRanges()")
        reached, unseen = [], []
        for _ in range(len(wanted) + 3):
            window.driver.switch_to.active_element.send_keys(Keys.TAB)
            name, outline, left = window.run(
                "const each = document.activeElement, style = getComputedStyle(each);"
                "return [each.dataset.walk || '', style.outlineStyle, each.getBoundingClientRect().left]"
            )
            reached.append(name)
            if name and (outline == "none" or left < 0):
                unseen.append(name)
        return sorted(set(wanted) - set(reached), key=int), unseen

    await _in_browser(lambda: window.look(width=1280, dark=False))
    await _in_browser(window.open, page.link())
    for path in ("/why?q=sender.test", f"/session/{SESSION}", "/login"):
        assert await _in_browser(walk, path) == ([], []), path


async def test_each_page_has_its_landmarks_and_names(page: OpenPage, window: Chromium) -> None:
    def look() -> list[str]:
        window.open(page.link())
        found = []
        for path in ("/now", "/live", "/why?q=sender.test", f"/session/{SESSION}", "/login"):
            window.open(page.address + path)
            found += [f"{path}: {each}" for each in window.run(
                "const bad = [];"
                "if (document.documentElement.lang !== 'en') bad.push('no language');"
                "if (document.querySelectorAll('main').length !== 1) bad.push('no main');"
                "if (document.querySelectorAll('h1').length !== 1) bad.push('not one h1');"
                "if (!document.title) bad.push('no title');"
                "for (const each of document.querySelectorAll('a, button, input:not([type=hidden]), select, svg[role],"
                " [role=region]')) if (!(each.innerText || '').trim() && !each.ariaLabel && !each.labels?.length)"
                " bad.push(each.outerHTML);"
                "for (const each of document.querySelectorAll('th')) if (!each.scope) bad.push(each.outerHTML);"
                "return bad"
            )]  # fmt: skip
        return found

    assert await _in_browser(look) == []
