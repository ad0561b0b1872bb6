"""`TLS = ifavailable` with `TLS_IfAvailable_Fallback = false`: once STARTTLS was offered, no mail goes in the clear."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from proxy.outgoing.handshake import IN_THE_CLEAR, Dial, GreetingRefused, Tls, dial
from proxy.upstream.connect import Connector
from proxy.upstream.failures import RefusedUs, Unreachable
from tests.proxy.outbox.test_outbox_delivery import scene
from tests.proxy.upstream.test_connect import upstream_at
from tests.support.exchanger import EXTENSIONS, Act, Exchanger, Step, closes, says
from tests.support.waiting import eventually
from tests.support.worker import ALICE, BOB, LETTER, resolver, serving

OFFERED = (*EXTENSIONS, "STARTTLS")
STRICT = {"TLS": "ifavailable", "TLS_IfAvailable_Fallback": "false"}
REFUSALS = [
    pytest.param(says("454 4.7.0 TLS not available due to temporary reason"), id="454"),
    pytest.param(says("421 4.3.2 too busy for TLS"), id="421"),
    pytest.param(says("502 5.5.2 command not recognized"), id="502"),
    pytest.param(says("554 5.7.0 no TLS for you"), id="554"),
    pytest.param(says("250 2.0.0 what?"), id="250"),
    pytest.param(says("220 go ahead"), id="handshake_fails"),
    pytest.param(closes(), id="closes"),
]
REFUSED_US = "451 4.3.5 Next-hop server rejected our session, try again later"


def offering(refusal: Act) -> Exchanger:
    return Exchanger(extensions=OFFERED, script={Step.STARTTLS: refusal})


def mail_commands(upstream: Exchanger) -> list[str]:
    return [each for dialogue in upstream.dialogues for each in dialogue.commands if each.startswith("MAIL")]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_no_connection_comes_of_a_starttls_that_led_nowhere(refusal: Act) -> None:
    async with offering(refusal) as upstream:
        with pytest.raises((RefusedUs, Unreachable)):
            await Connector(upstream_at(upstream.port, **STRICT), resolver()).connect()
        assert len(upstream.dialogues) == 1, "it is not asked again in the clear"


@pytest.mark.parametrize("refusal", [REFUSALS[0], *REFUSALS[2:4]])
async def test_with_the_fallback_mail_goes_on_in_the_clear(refusal: Act) -> None:
    async with offering(refusal) as upstream:
        (await Connector(upstream_at(upstream.port, TLS="ifavailable"), resolver()).connect()).abort("done")


async def test_mail_is_deferred_and_nothing_of_it_is_said_in_the_clear() -> None:
    async with offering(says("454 4.7.0 not now")) as upstream, serving(upstream, **STRICT) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask(f"RCPT TO:<{BOB}>") == REFUSED_US
        assert mail_commands(upstream) == []


async def test_once_starttls_works_again_mail_goes_by_new_connections_only() -> None:
    """A connection that was refused TLS is never pooled."""
    async with offering(says("454 4.7.0 not now")) as upstream, serving(upstream, **STRICT) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask(f"RCPT TO:<{BOB}>") == REFUSED_US
        assert all("QUIT" in each.commands or each.commands[-1] == "STARTTLS" for each in upstream.dialogues)


async def test_a_letter_of_the_outbox_waits(tmp_path: Path) -> None:
    async with offering(says("454 4.7.0 not now")) as upstream, scene(upstream.port, tmp_path, **STRICT) as on:
        await on.put()
        await eventually(lambda: bool(upstream.dialogues), "it is tried")
        assert await on.due() is not None
        assert mail_commands(upstream) == []


async def test_without_an_offer_mail_goes_in_the_clear() -> None:
    """`ifavailable` says so; `required` does not."""
    async with Exchanger() as upstream, serving(upstream, **STRICT) as stage:
        client = await stage.greeted()
        assert (await client.deliver(ALICE, [BOB], LETTER)).startswith("250 ")
    async with Exchanger() as upstream:
        with pytest.raises(RefusedUs):
            await Connector(upstream_at(upstream.port, TLS="required"), resolver()).connect()


@pytest.mark.parametrize("mode", ["ifavailable", "required"])
async def test_a_dial_that_may_not_fall_back_tells_the_servers_refusal(mode: str) -> None:
    async with offering(says("454 4.7.0 not now")) as upstream:
        tls = Tls(mode, ssl.create_default_context(), "exchanger.test", may_fall_back=False)
        with pytest.raises(GreetingRefused, match="starttls: 454") as refused:
            await dial(Dial("127.0.0.1", upstream.port, "ringback.test", 5.0, 5.0, tls))
        assert refused.value.code == 454
    assert not IN_THE_CLEAR.needs_success
