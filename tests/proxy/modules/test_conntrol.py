"""conntrol: a pause before the greeting in which a client must be silent; no test waits for the pause to pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.app import load, load_service
from proxy.base.rejected import ConfigurationRejected
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.conntrol.module import ConntrolValidator
from proxy.modules.conntrol.options import ConntrolOptions
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.waiting import eventually
from tests.support.worker import Rule, serving

LONG = 600.0
"""Longer than any test: who is greeted, or refused, was not made to wait."""

SYNCHRONIZATION = b"554 5.5.0 SMTP protocol synchronization error\r\n"
CORE = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "ringback.test"
Relay_Domains = a.test
Gateway = "127.0.0.1"
Remote_SMTP_Port = 1
"""


def pausing(pause: float = LONG, early_talker: str = "reject", **others: str) -> ConntrolValidator:
    return ConntrolValidator(
        "conntrol", ConntrolOptions.model_validate({"pause_time": pause, "early_talker": early_talker} | others)
    )


async def test_a_client_that_speaks_in_the_pause_is_refused_at_once() -> None:
    async with serving(None, pausing()) as stage:
        with capture_logs() as log:
            client = await stage.connection()
            await client.send("EHLO client.test")
            assert await client.rest() == SYNCHRONIZATION
            await stage.ended()
        assert [each["event"] for each in log] == ["refused", "session"]


async def test_a_client_that_is_silent_is_greeted_after_the_pause() -> None:
    async with serving(None, pausing(0.01)) as stage:
        client = await stage.conversation()
        assert client.banner == "220 ringback.test ESMTP Ringback"
        assert (await client.ehlo()).startswith("250")


async def test_an_early_talker_that_is_accepted_goes_on_and_scripts_know_it() -> None:
    seen: list[str | None] = []

    async def look(session: Session) -> Verdict:
        seen.append(session.context.get("early_talker"))
        return PASS

    async with serving(
        None, pausing(early_talker="accept"), Rule(Phase.CONNECT, look), Rule(Phase.EHLO, look)
    ) as stage:
        client = await stage.connection()
        await client.send("EHLO client.test")
        assert await client.reply() == "220 ringback.test ESMTP Ringback"
        assert (await client.reply()).startswith("250")
        assert seen == ["yes", "yes"]


async def test_scripts_of_the_connect_phase_know_the_early_talker_before_it_is_refused() -> None:
    seen: list[str | None] = []

    async def look(session: Session) -> Verdict:
        seen.append(session.context.get("early_talker"))
        return PASS

    async with serving(None, pausing(), Rule(Phase.CONNECT, look)) as stage:
        client = await stage.connection()
        await client.send("EHLO client.test")
        assert await client.rest() == SYNCHRONIZATION
        assert seen == ["yes"]


async def test_a_silent_client_is_no_early_talker() -> None:
    seen: list[str | None] = []

    async def look(session: Session) -> Verdict:
        seen.append(session.context.get("early_talker"))
        return PASS

    async with serving(None, pausing(0.01), Rule(Phase.CONNECT, look)) as stage:
        await stage.conversation()
        assert seen == [None]


async def test_relay_hosts_do_not_wait() -> None:
    async with serving(None, pausing(), Relay_Hosts="( 127.0.0.0/8 )") as stage:
        assert (await stage.conversation()).banner == "220 ringback.test ESMTP Ringback"


async def test_a_client_that_a_front_introduces_does_not_wait() -> None:
    options = {"Relay_Hosts": "( 127.0.0.0/8 )", "Xclient_Hosts": "( 127.0.0.0/8 )"}
    async with serving(None, pausing(), **options) as stage:
        client = await stage.conversation()
        assert await client.ask("XCLIENT ADDR=198.51.100.7") == "220 ringback.test ESMTP Ringback"


async def test_a_client_that_leaves_in_the_pause_ends_its_session() -> None:
    async with serving(None, pausing()) as stage:
        client = await stage.connection()
        await eventually(lambda: stage.sessions == 1, "the session has begun")
        await client.close()
        await stage.ended()


async def test_a_client_in_the_pause_hears_that_ringback_stops() -> None:
    async with serving(None, pausing()) as stage:
        client = await stage.connection()
        await eventually(lambda: len(stage.worker.front.live) == 1, "the session has begun")
        await stage.worker.stop()
        assert await client.rest() == b"421 4.3.2 Service shutting down, try again\r\n"


@pytest.mark.parametrize(
    "stanza",
    [
        "Validate validate/conntrol conntrol {\n  pause_time = 600\n  early_talker = reject\n}\n",
        'conntrol "conntrol" {\n  pause_time = 10m\n}\n',
    ],
)
async def test_the_stanza_loads_in_both_dialects(stanza: str, tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(CORE + stanza)
    worker = load_service(path)
    await worker.start()
    try:
        async with await Conversation.connect(*worker.addresses[0]) as client:
            await client.send("EHLO client.test")
            assert await client.rest() == SYNCHRONIZATION
    finally:
        await worker.stop(now=True)


def test_a_passive_module_makes_no_pause(tmp_path: Path) -> None:
    path = tmp_path / "ecelerity.conf"
    path.write_text(CORE + "Validate validate/conntrol conntrol passive {\n  pause_time = 600\n}\n")
    assembly, _ = load(path)
    (prepared,) = assembly.prepared
    assert prepared.validator(None) is None  # type: ignore[arg-type]  # it asks nothing of the services


@pytest.mark.parametrize(
    ("banner", "greeting"),
    [
        ("220-Be patient\\r\\n", "220-Be patient\n220 ringback.test ESMTP Ringback"),
        ("220-One\\r\\n220-Two", "220-One\n220-Two\n220 ringback.test ESMTP Ringback"),
        ("220 All of it\\r\\n", "220 All of it"),
        ("Only words", "220 Only words"),
        ("", "220 ringback.test ESMTP Ringback"),
    ],
)
async def test_the_banner_comes_after_the_pause_before_or_instead_of_the_listeners(banner: str, greeting: str) -> None:
    async with serving(None, pausing(0.01, banner=banner)) as stage:
        assert (await stage.conversation()).banner == greeting


async def test_relay_hosts_have_the_banner_too() -> None:
    async with serving(None, pausing(banner="220 hello"), Relay_Hosts="( 127.0.0.0/8 )") as stage:
        assert (await stage.conversation()).banner == "220 hello"


@pytest.mark.parametrize("early_talker", ["reject", "accept"])
async def test_ratware_is_disconnected_at_once_with_the_operators_reply(early_talker: str) -> None:
    text = "421 mx.test does not like haste\\r\\n"
    async with serving(None, pausing(early_talker=early_talker, disconnect_ratware=text)) as stage:
        client = await stage.connection()
        await client.send("EHLO client.test")
        assert await client.rest() == b"421 mx.test does not like haste\r\n"


async def test_a_patient_client_is_not_taken_for_ratware() -> None:
    async with serving(None, pausing(0.01, disconnect_ratware="421 no")) as stage:
        assert (await stage.conversation()).banner == "220 ringback.test ESMTP Ringback"


@pytest.mark.parametrize("text", ["go away", "250 welcome", "421", "42 no", "421 one\\n421 two\\r\\nthree"])
def test_what_is_no_reply_that_refuses_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "e.conf"
    path.write_text(f'{CORE}conntrol {{ disconnect_ratware = "{text}" }}\n')
    with pytest.raises(ConfigurationRejected) as rejected:
        load(path)
    (found,) = rejected.value.diagnostics
    assert "is not a reply that refuses" in found.message
