"""A session that has ended leaves nothing for the garbage collector, whose run stops all other sessions.

What 700 sessions left took 10 to 25 ms, on a connection for each message every second or two.
"""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, closes, says
from tests.support.waiting import eventually
from tests.support.worker import ALICE, BOB, LETTER, Rule, WorkerStage, refuses, serving

Dialogue = Callable[[Conversation], Awaitable[object]]


@contextmanager
def collected() -> Iterator[Counter[str]]:
    """Count our objects that only a garbage collection frees, by type. None runs meanwhile."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage]
        found.update(name for name in names if name.startswith(("proxy.", "uvloop.")))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def says_goodbye(client: Conversation) -> None:
    await client.quit()


async def leaves(client: Conversation) -> None:
    await client.close()


async def sends(client: Conversation) -> None:
    await client.ehlo()
    for line in (f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA"):
        await client.ask(line)
    await client.content(LETTER)
    await client.quit()


async def is_refused(client: Conversation) -> None:
    await client.ehlo()
    await client.ask(f"MAIL FROM:<{ALICE}>")
    await client.ask("RCPT TO:<bob@elsewhere.test>")
    await client.quit()


async def leaves_within_a_transaction(client: Conversation) -> None:
    await client.ehlo()
    await client.ask(f"MAIL FROM:<{ALICE}>")
    await client.ask(f"RCPT TO:<{BOB}>")
    await client.close()


async def leaves_within_its_message(client: Conversation) -> None:
    await client.ehlo()
    for line in (f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA"):
        await client.ask(line)
    await client.send_raw(b"Subject: half\r\n")
    client.abort()


async def makes_too_many_errors(client: Conversation) -> None:
    await client.ehlo()
    while not (await client.ask("RCPT TO:<")).startswith("421 "):
        pass
    await client.close()


async def talks_nonsense(client: Conversation) -> None:
    await client.send_raw(b"GET / HTTP/1.1\r\n\r\n")
    await client.reply()
    await client.close()


DIALOGUES: tuple[Dialogue, ...] = (
    says_goodbye, leaves, sends, is_refused, leaves_within_a_transaction, leaves_within_its_message,
    makes_too_many_errors, talks_nonsense,
)  # fmt: skip


async def left_by(stage: WorkerStage, dialogue: Dialogue, times: int = 3) -> Counter[str]:
    """Return what a number of sessions leave, after one that fills caches."""
    await dialogue(await stage.conversation())
    await stage.ended()
    with collected() as found:
        for _ in range(times):
            await dialogue(await stage.conversation())
            await stage.ended()
        await eventually(lambda: not stage.worker.front.live, "they are gone")
        await asyncio.sleep(0)
    return found


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda each: each.__name__)
async def test_a_session_leaves_no_garbage(dialogue: Dialogue) -> None:
    async with Exchanger() as upstream, serving(upstream) as stage:
        assert await left_by(stage, dialogue) == {}


async def test_a_session_that_a_script_refuses_leaves_none() -> None:
    rule = Rule(Phase.MAILFROM, refuses(550, "5.7.1 no", close=True))
    async with Exchanger() as upstream, serving(upstream, rule) as stage:
        assert await left_by(stage, is_refused_at_once) == {}


async def is_refused_at_once(client: Conversation) -> None:
    await client.ehlo()
    assert (await client.ask(f"MAIL FROM:<{ALICE}>")).startswith("550 ")
    await client.close()


@pytest.mark.parametrize("step", [Step.RCPT, Step.DATA, Step.DOT])
@pytest.mark.parametrize("act", [says("450 4.2.0 later"), closes()], ids=["deferred", "lost"])
async def test_a_session_whose_next_hop_fails_leaves_none(step: Step, act: object) -> None:
    async with Exchanger(script={step: act}) as upstream, serving(upstream) as stage:  # type: ignore[dict-item]
        assert await left_by(stage, tries) == {}


async def tries(client: Conversation) -> None:
    await client.ehlo()
    for line in (f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA"):
        answer = await client.ask(line)
    if answer.startswith("354 "):
        await client.content(LETTER)
    await client.quit()


async def test_a_session_over_tls_leaves_none(tmp_path: Path) -> None:
    authority, certificate, trust = trustme.CA(), tmp_path / "certificate.pem", ssl.create_default_context()
    authority.issue_cert("mx.test").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.configure_trust(trust)

    async def encrypts(client: Conversation) -> None:
        await client.ehlo()
        await client.ask("STARTTLS")
        await client._writer.start_tls(trust, server_hostname="mx.test")
        await sends(client)

    async with Exchanger() as upstream, serving(upstream, TLS_Certificate=f'"{certificate}"') as stage:
        assert await left_by(stage, encrypts) == {}
