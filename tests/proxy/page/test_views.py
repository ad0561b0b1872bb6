"""What the views show, and what they ask the workers: nothing, unless a page with sessions is open."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.metrics.table import MESSAGES, UP
from proxy.page import searching
from proxy.page.routes import PATHS, Role
from tests.support.histories import NOW, mail_lines, refusal_line, session_line, settings, write
from tests.support.pages import HOSTILE, logged_in, opened, text
from tests.support.waiting import eventually

ROW = {
    "id": "1p5qk3runs-1", "client": "192.0.2.7:4711", "helo": "client.test", "phase": "awaiting rcptto", "seconds": 1.5,
    "messages": 0, "sender": "a@sender.test", "recipients": 0, "upstream": "",
}  # fmt: skip
DETAILS = {
    **ROW, "local": "192.0.2.1:25", "via": "", "tls": "", "cipher": "", "user": "", "can_relay": False, "errors": 0,
    "waits_in": [], "recipient_addresses": [], "variables": {"name": HOSTILE[0]}, "message_variables": {},
    "dialogue": ["S: 220 mx", "C: EHLO client.test", "S: 250 mx", "C: MAIL FROM:<a@sender.test>", "S: 250 Ok"],
    "dialogue_ms": [0, 10, 11, 20, 300],
}  # fmt: skip


class Workers:
    """Two workers: one answers, the other does not."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def ask(self, question: str, arguments: Mapping[str, Any]) -> list[Any]:
        self.asked.append((question, arguments))
        answer = {"rows": [ROW], "left_out": 3} if question == "sessions" else DETAILS
        peer = SimpleNamespace(hello=SimpleNamespace(slot=1))
        return [
            SimpleNamespace(
                process=peer, error="", answer=answer if arguments.get("id", ROW["id"]) == ROW["id"] else None
            ),
            SimpleNamespace(process=peer, error="no answer within 2 s", answer=None),
        ]


async def test_workers_are_asked_only_while_somebody_looks_at_sessions(tmp_path: Path) -> None:
    workers = Workers()
    async with opened(tmp_path, ask=workers.ask) as page, logged_in(page) as session:
        page.page._sampler.look()
        for path in ("/now", "/why", "/why?q=x", "/session/x"):
            async with session.get(page.address + path):
                pass
        async with session.get(page.address + "/stream/now") as stream:
            await stream.content.readline()
        assert workers.asked == []
        async with session.get(page.address + "/stream/live") as stream:
            await stream.content.readline()
            await eventually(lambda: len(workers.asked) > 1, "they are asked again and again")
        assert set(map(str, workers.asked)) == {str(("sessions", {"latest": 60}))}
        await eventually(lambda: not page.page._streams.viewers, "the stream has ended")
        asked = len(workers.asked)
        page.page._sampler.look()
        assert len(workers.asked) == asked


async def test_a_view_that_moves_has_a_place_for_each_part(tmp_path: Path) -> None:
    moving = [path.removeprefix("/stream") for path in PATHS if path.startswith("/stream/")]
    assert len(moving) > 1
    async with opened(tmp_path, ask=Workers().ask) as page, logged_in(page) as session:
        page.page._sampler.look()
        for path in moving:
            shown = await text(session, page.address + path)
            assert f'data-stream="/stream{path}"' in shown
            async with session.get(f"{page.address}/stream{path}") as stream:
                parts = json.loads((await stream.content.readline()).removeprefix(b"data: "))
            assert [name for name in parts if f' id="{name}"' not in shown] == [], (
                f"the template of {path} has no such id"
            )


def test_the_documentation_tells_of_each_view() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "page.md").read_text()
    assert [each.link for each in PATHS.values() if each.link and f"- **{each.link}**" not in documented] == []


async def test_a_session_that_runs_is_shown_with_its_dialogue_and_variables(tmp_path: Path) -> None:
    async with opened(tmp_path, ask=Workers().ask) as page, logged_in(page, Role.READ_MAIL) as session:
        live = await text(session, page.address + "/live")
        assert "/running/1p5qk3runs-1" in live
        shown = await text(session, page.address + "/running/1p5qk3runs-1")
        assert "MAIL FROM:&lt;a@sender.test&gt;" in shown
        assert "&lt;script&gt;" in shown
        assert "End this session" not in shown
        await text(session, page.address + "/running/other", 303)
    async with opened(tmp_path, ask=Workers().ask) as page, logged_in(page, Role.OPERATE) as session:
        assert "End this session" in await text(session, page.address + "/running/1p5qk3runs-1")


async def test_the_search_finds_what_the_history_has(tmp_path: Path) -> None:
    lines = [*mail_lines("s-1", recipients=["b@example.com"]), session_line("s-1"),
             refusal_line("s-2", "c@example.com", NOW), session_line("s-2")]  # fmt: skip
    write(settings(tmp_path), *lines)
    async with opened(tmp_path) as page, logged_in(page) as session:
        both = await text(session, page.address + "/why?q=a@sender.test")
        assert ("/session/s-1" in both, "/session/s-2" in both) == (True, True)
        one = await text(session, page.address + "/why?q=c@example.com")
        assert ("/session/s-1" in one, "/session/s-2" in one) == (False, True)
        assert "has nothing about" in await text(session, page.address + "/why?q=nobody@example.com")
        assert "Relayed" in await text(session, page.address + "/session/s-1")
        assert "Refused at RCPT TO" in await text(session, page.address + "/session/s-2")
        await text(session, page.address + "/session/s-3", 404)


async def test_a_search_is_refused_if_others_go_on_and_ends_if_it_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        monkeypatch.setattr(searching, "MOST_WAITING", 0)
        assert "Other searches" in await text(session, page.address + "/why?q=x", 503)
        monkeypatch.setattr(searching, "MOST_WAITING", 4)
        monkeypatch.setattr(searching, "SECONDS", 0.0)
        assert "took too long" in await text(session, page.address + "/why?q=x", 503)


async def test_now_says_what_is_wrong(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        counts = page.board.blocks[1].counts
        assert "Ready." in await text(session, page.address + "/now")
        counts[UP.base], counts[MESSAGES.base] = 1, 0
        counts[MESSAGES.base] = 600
        page.page._sampler.look()
        shown = await text(session, page.address + "/now")
        assert 'class="figure">600<' in shown
        for state in range(3):
            counts[UP.base] = state
            page.page._sampler.look()
            shown = await text(session, page.address + "/now")
            assert ("the next hop mail.test:25 is down" in shown) == (">down<" in shown)
