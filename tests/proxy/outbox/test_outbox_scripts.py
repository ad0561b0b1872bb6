"""Messages created by scripts, from the script to the next hop: what is sent, and the effect of each verdict."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import dkim
import pytest

from proxy.app import load_service
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Message, says
from tests.support.signing import rsa_key
from tests.support.waiting import eventually
from tests.support.worker import ALICE, BOB, CAROL, LETTER, settled

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
TEAM = "team@example.com"
FORWARD = f'ec_forward "" "{TEAM}" "look";\n'
GENERATE = f'generate_mail_raw "" "{TEAM}" text:\nSubject: made\n\nbody\n.\n;\n'


@contextlib.asynccontextmanager
async def client_of(folder: Path, upstream: Exchanger, **scripts: str) -> AsyncIterator[Conversation]:
    """Serve these scripts, and greet as a client."""
    lines = [
        "ESMTP_Listener = ( 127.0.0.1:0 )",
        'Hostname = "ringback.test"',
        "Relay_Domains = ( example.com )",
        'Gateway = "127.0.0.1"',
        f"Remote_SMTP_Port = {upstream.port}",
        f'State_Directory = "{folder}"',
        "sieve {",
    ]
    for phase, text in scripts.items():
        (folder / f"{phase}.siv").write_text(text)
        lines.append(f'  {phase} = "{phase}.siv"')
    (folder / "r.conf").write_text("\n".join([*lines, "}"]) + "\n")
    worker = load_service(folder / "r.conf")
    await worker.start()
    try:
        await settled(*worker.pools._pools.values())
        client = await Conversation.connect(*worker.addresses[0])
        client.banner = await client.reply()
        try:
            yield client
            await eventually(lambda: not len(worker.deliverer._deliveries), "deliveries end")
            await eventually(lambda: not len(worker._outbox._owner), "what is dropped is dropped")
            assert await worker.outbox_store.next_due() is None
        finally:
            client.abort()
    finally:
        await worker.stop(now=True)


async def sent(client: Conversation, letter: bytes = LETTER) -> str:
    await client.ehlo()
    return await client.deliver(ALICE, [BOB], letter)


async def made(upstream: Exchanger) -> Message:
    await upstream.until(lambda: any(TEAM in each.recipients[0] for each in upstream.messages), "the message")
    (found,) = (each for each in upstream.messages if TEAM in each.recipients[0])
    return found


async def test_a_forward_carries_the_message_as_it_came(tmp_path: Path) -> None:
    letter = b"Subject: =?utf-8?q?hi?=\r\nX-Raw: \xe4\r\n\r\n.dot\r\n\xff\r\n"
    async with Exchanger() as upstream, client_of(tmp_path, upstream, data_phase1=FORWARD) as client:
        assert await sent(client, letter) == ACCEPTED
        forward = await made(upstream)
        assert forward.sender == "MAIL FROM:<> BODY=8BITMIME"
        assert (
            b"\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + letter in forward.content
        )
        assert b"\r\nSubject: Fwd: =?utf-8?q?hi?=\r\n" in forward.content
        assert upstream.messages[0].content.endswith(letter)


@pytest.mark.parametrize("phase", ["mailfrom_phase1", "rcptto_phase1", "data_phase1", "set_binding_phase1"])
async def test_what_a_script_makes_goes_with_the_message(tmp_path: Path, phase: str) -> None:
    async with Exchanger() as upstream, client_of(tmp_path, upstream, **{phase: GENERATE}) as client:
        assert await sent(client) == ACCEPTED
        assert (await made(upstream)).content.endswith(b"\r\nSubject: made\r\n\r\nbody\r\n")


@pytest.mark.parametrize("phase", ["mailfrom_phase1", "rcptto_phase1", "data_phase1"])
async def test_what_a_script_makes_does_not_leave_where_the_message_is_refused_later(
    tmp_path: Path, phase: str
) -> None:
    scripts = {phase: GENERATE, "spool_phase1": 'ec_action 550 "no";\n'}
    async with Exchanger() as upstream, client_of(tmp_path, upstream, **scripts) as client:
        assert await sent(client) == "550 no"
    assert upstream.messages == []


@pytest.mark.parametrize("phase", ["connect_phase1", "ehlo_phase1"])
async def test_before_mail_it_leaves_at_once(tmp_path: Path, phase: str) -> None:
    async with Exchanger() as upstream, client_of(tmp_path, upstream, **{phase: GENERATE}) as client:
        await client.ehlo()
        await made(upstream)


@pytest.mark.parametrize("phase", ["mailfrom_phase1", "rcptto_phase1"])
async def test_a_script_that_refuses_sends_what_it_made(tmp_path: Path, phase: str) -> None:
    script = GENERATE + 'ec_action 550 "no";\n'
    async with Exchanger() as upstream, client_of(tmp_path, upstream, **{phase: script}) as client:
        await client.ehlo()
        answers = [await client.ask(f"MAIL FROM:<{ALICE}>"), await client.ask(f"RCPT TO:<{BOB}>")]
        assert "550 no" in answers
        await made(upstream)


@pytest.mark.parametrize("end", ['ec_action 550 "no";', "discard;"])
async def test_what_is_refused_or_thrown_away_by_the_same_script_is_forwarded(tmp_path: Path, end: str) -> None:
    async with Exchanger() as upstream, client_of(tmp_path, upstream, data_phase1=FORWARD + end) as client:
        assert (await sent(client))[:3] == ("550" if "550" in end else "250")
        await made(upstream)
        assert len(upstream.messages) == 1


async def test_a_script_that_fails_sends_nothing(tmp_path: Path) -> None:
    script = GENERATE + '$n = "x"; ec_tarpit "${n}";\n'
    async with Exchanger() as upstream, client_of(tmp_path, upstream, data_phase1=script) as client:
        assert (await sent(client))[:3] == "451"
    assert upstream.messages == []


async def test_what_was_made_for_a_recipient_that_the_upstream_refuses_does_not_leave(tmp_path: Path) -> None:
    script = f'if envelope :is "to" "{CAROL}" {{ {GENERATE} }}\n'
    refused = {CAROL: says("550 5.1.1 no")}
    async with (
        Exchanger(recipients=refused) as upstream,
        client_of(tmp_path, upstream, rcptto_phase1=script) as client,
    ):
        await client.ehlo()
        await client.ask(f"MAIL FROM:<{ALICE}>")
        assert await client.ask(f"RCPT TO:<{CAROL}>") == "550 5.1.1 no"
        await client.ask(f"RCPT TO:<{BOB}>")
        await client.ask("DATA")
        assert await client.content(LETTER) == ACCEPTED
    assert len(upstream.messages) == 1


async def test_a_forward_that_comes_back_is_not_forwarded_again(tmp_path: Path) -> None:
    async with Exchanger() as upstream, client_of(tmp_path, upstream, data_phase1=FORWARD) as client:
        assert await sent(client) == ACCEPTED
        forward = await made(upstream)
        assert (await client.deliver("", [BOB], forward.content)).startswith("250 ")
    assert [BOB in each.recipients[0] for each in upstream.messages] == [True, False, True]


async def test_a_letter_that_the_script_signs_leaves_with_a_true_signature(tmp_path: Path) -> None:
    key = tmp_path / "example.com.s1"
    key.write_bytes(rsa_key().pem)
    sign = "".join(
        f'hash_set $how "{name}" "{value}";\n'
        for name, value in (("base_domain", "example.com"), ("selector", "s1"), ("body_canon", "relaxed"))
    )
    sign = f'$how = hash_create;\n{sign}hash_set $how "keyfile" "{key}";\nec_dkim_sign $how;\n'
    script = f'generate_mail_raw "{BOB}" "{TEAM}" "Subject: made";\n{sign}'
    async with Exchanger() as upstream, client_of(tmp_path, upstream, data_phase1=script) as client:
        assert await sent(client) == ACCEPTED
        letter = await made(upstream)
        assert b"DKIM-Signature: v=1; a=rsa-sha256;" in letter.content
        assert dkim.verify(letter.content, dnsfunc=lambda _name, **_more: rsa_key().record)
        (message,) = (each for each in upstream.messages if each is not letter)
        assert b"DKIM-Signature" not in message.content


async def test_a_key_that_cannot_be_read_is_a_runtime_error_and_no_letter_leaves_unsigned(tmp_path: Path) -> None:
    how = '$how = hash_create;\nhash_set $how "base_domain" "example.com";\nhash_set $how "selector" "s1";\n'
    script = f'{GENERATE}{how}hash_set $how "keyfile" "{tmp_path}/none";\nec_dkim_sign $how;\n'
    async with Exchanger() as upstream, client_of(tmp_path, upstream, data_phase1=script) as client:
        assert (await sent(client))[:3] == "451"
        assert upstream.messages == []
