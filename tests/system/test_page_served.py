"""The page of a real Ringback: the link that a command prints, a refusal as a ladder, and a session that is ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from proxy.cli.__main__ import application
from tests.support.consoles import refused, said
from tests.support.house import greeted, opened
from tests.support.pages import browser, text
from tests.support.programs import free_port
from tests.support.ringback import Ringback, ended
from tests.support.waiting import eventually, eventually_answered
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

REFUSING = '$from = envelope "from";\nif ec_test :contains "${from}" "bad" {\n  ec_action 550 "5.7.1 bad sender";\n}\n'


class Served:
    """A Ringback with a page."""

    def __init__(self, ringback: Ringback, port: int, state: Path) -> None:
        self.ringback, self.port, self.state = ringback, port, state
        self.address = f"http://127.0.0.1:{port}"

    def link(self, *arguments: str) -> str:
        done = CliRunner().invoke(application, ["page", *arguments, "-c", str(self.ringback.configuration)])
        return done.output.strip() if done.exit_code == 0 else f"{done.exit_code} {done.output}"

    async def visited(self, session: Any, role: str = "operate") -> None:
        await text(session, await asyncio.to_thread(self.link, "--role", role))


async def served(stage: Stage, folder: Path, *lines: str, **how: Any) -> Served:
    state, port = folder / "state", free_port()
    state.mkdir()
    upstream = await stage.upstream()
    ringback = await opened(
        stage, folder, f'State_Directory = "{state}"', f"Web_Listener = ( 127.0.0.1:{port} )", *lines,
        upstream_port=upstream.port, **how,
    )  # fmt: skip
    made = Served(ringback, port, state)

    async def linked() -> bool:
        return (await asyncio.to_thread(made.link)).startswith("http")

    await eventually_answered(linked, "the page is served")
    return made


async def shows(session: Any, url: str, *words: str) -> str:
    """Return what a URL shows once it shows all these words."""

    async def look() -> str:
        async with session.get(url) as answer:
            found: str = await answer.text()
        return found if all(each in found for each in words) else ""

    return await eventually_answered(look, f"{url} shows {words}")


async def test_a_refusal_is_found_and_shown_with_the_line_that_decided(stage: Stage, tmp_path: Path) -> None:
    at = await served(stage, tmp_path, "Workers = 2", scripts={"mailfrom_phase1": REFUSING})
    async with await greeted(at.ringback) as client:
        assert await client.ask("MAIL FROM:<bad@ok.test>") == "550 5.7.1 bad sender"
    async with browser() as session:
        await at.visited(session, "read_mail")
        found = await shows(session, f"{at.address}/why?q=bad@ok.test", "5.7.1 bad sender", "/session/")
        (name,) = set(re.findall(r'href="(/session/[^"]+)"', found))
        ladder = await text(session, at.address + name)
        for words in (
            "MAIL FROM:&lt;bad@ok.test&gt;",
            "The script decided",
            "this line decided",
            "Refused at MAIL FROM",
        ):
            assert words in ladder
        assert await shows(session, f"{at.address}/now", "2 of 2 workers serve")
        assert await shows(session, f"{at.address}/live", "bad@ok.test", "5.7.1 bad sender")


async def test_a_running_session_is_shown_and_can_be_ended(stage: Stage, tmp_path: Path) -> None:
    at = await served(stage, tmp_path)
    assert list(json.loads(await asyncio.to_thread(at.link, "--json"))) == ["link"]
    async with browser() as session, await greeted(at.ringback) as client:
        await at.visited(session)
        assert (await client.ask("MAIL FROM:<slow@ok.test>")).startswith("250")
        found = await shows(session, f"{at.address}/live", "slow@ok.test", "/running/")
        (name,) = set(re.findall(r'href="/running/([^"]+)"', found))
        assert "MAIL FROM:&lt;slow@ok.test&gt;" in await text(session, f"{at.address}/running/{name}")
        form = {"command": "kill session", "about": name, "reason": "it is slow"}
        async with session.post(f"{at.address}/operate", data=form, headers={"Origin": at.address}) as answer:
            assert answer.status == 200
        assert (await client.reply()).startswith("421")
        await text(session, f"{at.address}/running/{name}", 303)

    def told() -> list[tuple[str, ...]]:
        done = [each for each in at.ringback.log if each["event"] == "console_command"]
        return [(each["user"], each["command"], each["reason"], each["outcome"]) for each in done]

    await eventually(lambda: ("page", f"kill session {name}", "it is slow", "done") in told(), "the log has it")


async def test_a_login_outlives_a_reload_and_a_killed_control_process_but_not_a_restart(
    stage: Stage, tmp_path: Path
) -> None:
    at = await served(stage, tmp_path)
    async with browser() as session:
        await at.visited(session)
        before = next(each["pid"] for each in at.ringback.log if each["event"] == "control_started")
        os.kill(before, signal.SIGKILL)
        await _again(session, at)
        at.ringback.program.process.send_signal(signal.SIGHUP)
        await eventually(lambda: any(each["event"] == "reloaded" for each in at.ringback.log), "it has reloaded")
        await _again(session, at)


async def _again(session: Any, at: Served) -> None:
    async def look() -> bool:
        try:
            async with session.get(f"{at.address}/now", allow_redirects=False) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    await eventually_answered(look, "the page is there again, for the same login")


async def test_without_a_listener_there_is_no_page_and_the_command_says_what_to_set(
    stage: Stage, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, f'State_Directory = "{state}"', upstream_port=upstream.port)

    async def asked() -> str:
        try:
            return await refused(state, "page")
        except OSError:
            return ""

    assert "set Web_Listener" in await eventually_answered(asked, "the console answers")
    status, _, complaint = await asyncio.to_thread(ended, "page", "-c", ringback.configuration)
    assert (status, "set Web_Listener" in complaint) == (69, True)
    assert "is not a role" in await refused(state, "page everything")
    assert await said(state, "help page")


def test_check_refuses_a_page_that_strangers_could_reach(tmp_path: Path) -> None:
    configuration = tmp_path / "ecelerity.conf"
    configuration.write_text(
        'ESMTP_Listener = ( 127.0.0.1:2525 )\nHostname = "mx.test"\nGateway = "192.0.2.1"\n'
        "Web_Listener = ( 0.0.0.0:9026 )\n"
    )
    status, shown, complaint = ended("check", configuration)
    assert status == 78
    assert "Web_TLS_Certificate and Web_Password_File" in shown + complaint
