"""All checks of senders at once, on a server: real names, a name server that never answers, and hostile mail."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import authres
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bench.memory import MEBI, allow_open_files
from proxy.base.tasks import TaskOwner, spawn
from proxy.mail.stuffing import stuffed
from tests.proxy.cli.test_mail_checks import ZONE
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, says
from tests.support.house import greeted, opened
from tests.support.nameserver import ScriptedNameserver
from tests.support.ringback import Ringback
from tests.support.rounds import WHOLE
from tests.support.signing import rsa_key, signed
from tests.support.waiting import eventually
from tests.support.world import Stage
from tests.system.test_history import state, told

pytestmark = pytest.mark.real("dnsmasq")  # the stage has one

SESSIONS = 500 if WHOLE else 60
LARGE = 10 if WHOLE else 1
"""Signed messages of this many octets among them."""
AT_ONCE = 50
PATIENCE = 300.0
"""Seconds for one reply; only a defect takes longer."""
LARGE_OCTETS = 25 * MEBI if WHOLE else 2 * MEBI

BOB = "bob@example.com"
PLAIN = b"From: Alice <alice@sender.test>\r\nSubject: hi\r\n\r\nsee http://www.link.test/\r\n"
ALL_MODULES = """
iprev {{ timeout = {seconds} }}
spf_v1 "spf_v1" {{ timeout = {seconds} }}
dkim_validate "dkim_validate" {{ timeout = {seconds} }}
arc {{ timeout = {seconds} }}
dnsbl {{
  timeout = {seconds}
  zones = [
    bl.test = [ checks = ( client helo ptr sender ) ]
    uri.test = [ checks = ( url header ) ]
    allow.test = [ allow = yes ]
  ]
}}
dmarc {{ timeout = {seconds} action = enforce {dmarc} }}
"""


def modules(seconds: float, dmarc: str = "") -> Sequence[str]:
    return ALL_MODULES.strip().format(seconds=seconds, dmarc=dmarc).splitlines()


@contextmanager
def silent_name_server() -> Iterator[str]:
    """Yield the address of a name server that hears everything and says nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{mute.getsockname()[1]}"


async def deliver(ringback: Ringback, content: bytes, *recipients: str, sender: str = "alice@sender.test") -> list[str]:
    """Return the replies until the first refusal, or to the dot."""
    return await sent(await greeted(ringback), content, *recipients, sender=sender)


async def sent(client: Conversation, content: bytes, *recipients: str, sender: str) -> list[str]:
    """The same, for a client that has said EHLO. Many at once are slow on a busy machine."""
    said = []
    async with client:
        for line in (f"MAIL FROM:<{sender}>", *[f"RCPT TO:<{each}>" for each in recipients or (BOB,)], "DATA"):
            await client.send(line)
            said.append(await client.reply(within=PATIENCE))
            if not said[-1].startswith(("250", "354")):
                return said
        await client.send_raw(stuffed(content) + b".\r\n")
        said[-1] = await client.reply(within=PATIENCE)
    return said


async def crowd(ringback: Ringback) -> list[Conversation]:
    """Return SESSIONS clients that have said EHLO."""
    clients: list[Conversation] = []
    while len(clients) < SESSIONS:
        clients += await asyncio.gather(*[greeted(ringback) for _ in range(min(AT_ONCE, SESSIONS - len(clients)))])
    return clients


def octets_of(ringback: Ringback) -> int:
    """Return the resident memory of the worker."""
    (worker,) = ringback.workers
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_everything_passes_beside_a_name_server_that_never_answers(stage: Stage, tmp_path: Path) -> None:
    allow_open_files()
    upstream = await stage.upstream()
    large = signed(PLAIN + b"x" * 76 + b"\r\n" + (b"y" * 76 + b"\r\n") * (LARGE_OCTETS // 78))
    with silent_name_server() as nameserver:
        lines = ("Max_Connections_Per_Client = 0", "Max_Message_Size = 40M", *modules(1 if WHOLE else 0.2))
        ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port, nameserver=nameserver)
        await deliver(ringback, PLAIN)
        before = octets_of(ringback)
        contents = [large] * LARGE + [PLAIN] * (SESSIONS - LARGE)
        clients = await crowd(ringback)
        sending = [
            sent(client, each, sender=f"a{at}@d{at}.test")
            for at, (client, each) in enumerate(zip(clients, contents, strict=True))
        ]
        said = await asyncio.gather(*sending)
        assert [each[-1][:3] for each in said] == ["250"] * SESSIONS
        assert octets_of(ringback) - before < 150 * MEBI
    for each in await ringback.logged("authentication", SESSIONS + 1):
        assert "spf=temperror" in each["results"]
        assert "dmarc=temperror" in each["results"]
    assert [each for each in ringback.log if each["event"] in {"validator_failed", "task_failed"}] == []


async def with_names(stage: Stage, tmp_path: Path, *lines: str, zone: Sequence[str] = ()) -> tuple[Ringback, Exchanger]:
    upstream = await stage.upstream()
    names = await stage._stack.enter_async_context(ScriptedNameserver([*ZONE, *zone]))
    house = await opened(stage, tmp_path, *lines, upstream_port=upstream.port, nameserver=names.address)
    return house, upstream


WORKS = ("2.0.0.127.allow.test A 127.0.0.2", "test.bl.test A 127.0.0.2", "2.0.0.127.bl.test A 127.0.0.2")
FORGED = b"From: Bank <service@bank.test>\r\nSubject: hurry\r\n\r\nhello\r\n"


async def test_a_forged_message_is_refused_if_a_second_finding_agrees_and_the_log_says_why(
    stage: Stage, tmp_path: Path
) -> None:
    ringback, upstream = await with_names(stage, tmp_path, *modules(5), zone=WORKS)
    said = await deliver(ringback, FORGED, sender="a@bank.test")
    assert said[-1] == "550 5.7.1 Refused by the DMARC policy of bank.test"
    said = await deliver(
        ringback, FORGED, sender="a@nothing.test"
    )  # SPF says nothing: the policy alone does not refuse
    assert said[-1].startswith("250")
    (message,) = upstream.messages
    assert b"X-DMARC-Policy: reject bank.test" in message.content
    assert b"dmarc=fail" in message.content
    first, second = await ringback.logged("message", 2)
    assert (first["decided_by"], first["dmarc"]["disposition"]) == ("dmarc", "reject")
    assert (second["dmarc"]["disposition"], second["dmarc"]["override"]) == ("none", "local_policy")


async def test_the_history_has_every_answer_of_dns_that_the_checks_got_also_a_remembered_one(
    stage: Stage, tmp_path: Path
) -> None:
    key = rsa_key().record.decode()
    parts = " ".join(f'"{key[at : at + 200]}"' for at in range(0, len(key), 200))
    zone = (
        *WORKS,
        'a.test TXT "v=spf1 include:other.test -all"',
        'other.test TXT "v=spf1 ip4:127.0.0.0/8 -all"',
        f"s1._domainkey.a.test TXT {parts}",
        '_dmarc.a.test TXT "v=DMARC1; p=none"',
        "1.0.0.127.in-addr.arpa PTR client.a.test.",
        "client.a.test A 127.0.0.1",
        "s1._domainkey.gone.test SERVFAIL",
    )
    lines = (state(tmp_path), "History_Answers = true", *modules(5))
    ringback, _ = await with_names(stage, tmp_path, *lines, zone=zone)
    content = signed(b"From: Alice <alice@a.test>\r\nSubject: hi\r\n\r\nsee http://www.link.test/\r\n")
    content = signed(content, domain="gone.test")
    for number in range(2):  # the second time, hardly anything is asked of the name server
        recipient = f"answers{number}@example.com"
        assert (await deliver(ringback, content, recipient, sender="alice@a.test"))[-1].startswith("250")
        words = (
            "dns txt a.test None SUCCESS v=spf1 include:other.test -all",
            "dns txt other.test None SUCCESS v=spf1 ip4:127.0.0.0/8 -all",
            f"dns txt s1._domainkey.a.test None SUCCESS {key}",
            "dns txt s1._domainkey.gone.test None SERVFAIL",
            "dns txt _dmarc.a.test None SUCCESS v=DMARC1; p=none",
            "dns ptr 127.0.0.1 None SUCCESS client.a.test",
            "dns a client.a.test None SUCCESS 127.0.0.1",
            "dns a 1.0.0.127.bl.test None NXDOMAIN",
            "dns a link.test.uri.test None NXDOMAIN",
        )
        story = await told(ringback, recipient, words)
        assert story.index(words[0]) < story.index(words[1]) < story.index(words[2])
        assert " test.bl.test" not in story, "what a module asks for itself is no question about this session"


async def test_a_listed_client_is_refused_at_rcpt_but_reaches_postmaster(stage: Stage, tmp_path: Path) -> None:
    zone = (*WORKS, "1.0.0.127.bl.test NXDOMAIN", "9.0.0.127.bl.test A 127.0.0.4")
    ringback, _ = await with_names(stage, tmp_path, *modules(5), zone=zone)
    client = await greeted(ringback, source="127.0.0.9")
    async with client:
        assert (await client.ask("MAIL FROM:<a@nothing.test>")).startswith("250")
        assert await client.ask(f"RCPT TO:<{BOB}>") == "554 5.7.1 127.0.0.9 is listed by bl.test"
        assert (await client.ask("RCPT TO:<postmaster@example.com>")).startswith("250")
    assert [each["zone"] for each in await ringback.logged("dnsbl_listed", 1)] == ["bl.test"]
    assert "bl.test" not in [each["zone"] for each in ringback.log if each["event"] == "dnsbl_zone_off"]


async def test_in_shadow_mode_nothing_is_refused_and_the_log_says_what_would_have_been(
    stage: Stage, tmp_path: Path
) -> None:
    lines = [
        'spf_v1 "spf" { }',
        "dnsbl { shadow = true zones = ( bl.test ) }",
        "dmarc { shadow = true action = enforce }",
    ]
    ringback, upstream = await with_names(stage, tmp_path, *lines, zone=(*WORKS, "9.0.0.127.bl.test A 127.0.0.4"))
    client = await greeted(ringback, source="127.0.0.9")
    async with client:
        assert (await client.deliver("a@bank.test", [BOB], FORGED)).startswith("250")
    assert len(upstream.messages) == 1
    told = await ringback.logged("shadowed", 2)
    shadowed = [(each["validator"], each["phase"], each["disposition"]) for each in told]
    assert shadowed == [("dnsbl", "rcptto", "refused"), ("dmarc", "data", "refused")]


async def test_early_talkers_and_failed_callbacks_agree_with_a_policy_if_the_operator_says_so(
    stage: Stage, tmp_path: Path
) -> None:
    arrived = asyncio.Event()
    gone = says("550 5.1.1 no such user", until=arrived)
    exchanger = await stage.exchanger("ok.test", recipients={"gone@ok.test": gone})
    zone = ("ok.test MX 10 mx.ok.test.", f"mx.ok.test A {exchanger.address}")
    lines = [
        "Relay_Domains = ( example.com )",
        "conntrol { pause_time = 0.3 early_talker = accept }",
        "dmarc { action = enforce timeout = 60 enforce_with = ( early_talker callback_fail ) }",
        f"smtp_cbv active {{ port = {exchanger.port} store = memory allow_networks = ( 127.0.0.0/8 ) }}",
    ]
    upstream = await stage.upstream()
    names = await stage._stack.enter_async_context(ScriptedNameserver([*ZONE, *zone]))
    ringback = await opened(stage, tmp_path, *lines, upstream_port=upstream.port, nameserver=names.address)
    refused = "550 5.7.1 Refused by the DMARC policy of bank.test"
    sending = spawn(deliver(ringback, FORGED, sender="gone@ok.test"), name="client", owner=TaskOwner("test"))
    await eventually(lambda: exchanger.held and "_dmarc.bank.test TXT" in names.asked, "the message is judged")
    arrived.set()  # the exchanger answers when the whole message is there
    assert (await sending)[-1] == refused
    assert (await deliver(ringback, FORGED, sender="user@ok.test"))[-1].startswith("250")
    reader, writer = await asyncio.open_connection("127.0.0.1", ringback.port)
    writer.write(b"EHLO client.test\r\n")
    early = Conversation(reader, writer)
    assert (await early.reply(within=PATIENCE)).startswith("220")
    assert (await early.reply(within=PATIENCE)).startswith("250")
    assert (await sent(early, FORGED, sender="user@ok.test"))[-1] == refused
    assert len(upstream.messages) == 1


def key_record(bits: int, exponent: int) -> str:
    """Return the strings of a key record that a hostile domain has."""
    numbers = rsa.RSAPublicNumbers(exponent, (1 << (bits - 1)) + 12345)
    public = numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = "v=DKIM1; p=" + base64.b64encode(public).decode()
    return " ".join([f'"{record[at : at + 200]}"' for at in range(0, len(record), 200)])


HOSTILE_KEYS = {"long.test": key_record(16_384, 65_537), "steep.test": key_record(2048, (1 << 64) + 1)}


def signatures(number: int) -> bytes:
    """Return signature fields whose body hash is right, by the hostile domains in turn."""
    field = signed(PLAIN)[: -len(PLAIN)]
    return b"".join([field.replace(b"a.test", each.encode()) for each in HOSTILE_KEYS]) * (number // 2)


HOSTILE = {
    "10,000 signatures": signatures(10_000) + PLAIN,
    "100,000 links": PLAIN + b"".join(b"http://h%d.test/a\r\n" % at for at in range(100_000)),
    "a field with 8,000 results": b"Authentication-Results: ringback.test; "
    + b";\r\n ".join(b"spf=pass (c%d) smtp.mailfrom=a@b.test" % at for at in range(8000))
    + b"\r\n"
    + PLAIN,
    "nested comments": b"Authentication-Results: " + b"(" * 900 + b"\r\n " + b"(" * 900 + b"\r\n" + PLAIN,
    "many From addresses": b"From: " + b",\r\n ".join(b"a@d%d.test" % at for at in range(2000)) + b"\r\n\r\nx\r\n",
    "thousands of seals": b"ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; b=AA==\r\n" * 1000 + PLAIN,
}


async def test_hostile_mail_is_bounded(stage: Stage, tmp_path: Path) -> None:
    loop = ('loop.test TXT "v=spf1 include:loop.test -all"',)
    hostile_keys = [f"s1._domainkey.{domain} TXT {record}" for domain, record in HOSTILE_KEYS.items()]
    lines = ("Max_Header_Size = 8M", *modules(5))
    ringback, upstream = await with_names(stage, tmp_path, *lines, zone=(*WORKS, *loop, *hostile_keys))
    for content in HOSTILE.values():
        said = await deliver(ringback, content, sender="a@loop.test")
        assert said[-1].startswith("250"), said
        assert (await deliver(ringback, PLAIN, sender="a@nothing.test"))[-1].startswith("250")
    assert len(upstream.messages) == 2 * len(HOSTILE)
    assert not any(b"spf=pass (c1)" in each.content for each in upstream.messages), "a stranger's results stayed"
    told = [each["results"] for each in await ringback.logged("authentication", 2 * len(HOSTILE))]
    assert told[0].count("dkim=policy") == 5, told[0]
    assert "spf=permerror" in told[0]
    assert [each for each in ringback.log if each["event"] in {"validator_failed", "task_failed"}] == []


async def test_a_signed_message_passes_all_checks(stage: Stage, tmp_path: Path) -> None:
    key = rsa_key().record.decode()
    zone = (
        *WORKS,
        'good.test TXT "v=spf1 ip4:127.0.0.1 -all"',
        '_dmarc.good.test TXT "v=DMARC1; p=reject"',
        "s1._domainkey.good.test TXT " + " ".join(f'"{key[at : at + 200]}"' for at in range(0, len(key), 200)),
        "1.0.0.127.in-addr.arpa PTR mx.good.test.",
        "mx.good.test A 127.0.0.1",
    )
    ringback, upstream = await with_names(stage, tmp_path, *modules(5), zone=zone)
    content = signed(b"From: a@good.test\r\nTo: b@example.com\r\nSubject: s\r\n\r\nhello\r\n", domain="good.test")
    assert (await deliver(ringback, content, sender="a@good.test"))[-1].startswith("250")
    (told,) = [each["authentication"] for each in await ringback.logged("message", 1)]
    assert told == "iprev=pass spf=pass dkim=pass/good.test dmarc=pass"
    (message,) = upstream.messages
    assert message.content.count(b"Authentication-Results: ringback.test") == 1


async def test_what_a_client_says_leaves_one_field_that_says_what_ringback_found(stage: Stage, tmp_path: Path) -> None:
    ringback, upstream = await with_names(stage, tmp_path, *modules(5), zone=WORKS)
    forged = b"Authentication-Results: (x) RINGBACK.Test. 1;\r\n dkim=pass header.d=bank.test\r\n"
    for helo, sender, more in (
        ("client.test", '"a; dkim=pass (x) header.d=bank.test"@nothing.test', ""),
        ("client.test", '"a\\\\\\"; dkim=pass"@nothing.test', ""),
        ("x;dkim=pass", "", ""),
        ("client.test", '"\u00fc; dkim=pass"@b\u00fccher.test', " SMTPUTF8"),
    ):
        client = await greeted(ringback, name=helo)
        async with client:
            assert (await client.ask(f"MAIL FROM:<{sender}>{more}")).startswith("250"), sender
            assert (await client.ask(f"RCPT TO:<{BOB}>")).startswith("250")
            assert (await client.ask("DATA")).startswith("354")
            await client.send_raw(forged * 3 + PLAIN + b".\r\n")
            assert (await client.reply(within=PATIENCE)).startswith("250")
        head = upstream.messages[-1].content.partition(b"\r\n\r\n")[0].replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ")
        (field,) = [line for line in head.split(b"\r\n") if line.lower().startswith(b"authentication-results")]
        found = authres.AuthenticationResultsHeader.parse(field.decode("ascii"))
        assert found.authserv_id == "ringback.test"
        assert [each.method for each in found.results] == ["iprev", "spf", "dmarc"], field


async def test_why_tells_what_the_checks_found_and_who_decided(stage: Stage, tmp_path: Path) -> None:
    lines = (state(tmp_path), *modules(5))
    ringback, _ = await with_names(stage, tmp_path, *lines, zone=(*WORKS, "9.0.0.127.bl.test A 127.0.0.4"))
    client = await greeted(ringback, source="127.0.0.9")
    async with client:
        assert (await client.ask("MAIL FROM:<a@nothing.test>")).startswith("250")
        assert (await client.ask("RCPT TO:<listed@example.com>")).startswith("554")
    assert (await deliver(ringback, FORGED, "forged@example.com", sender="a@bank.test"))[-1].startswith("550")

    await told(
        ringback,
        "listed@example.com",
        [
            "The blocklist bl.test lists 127.0.0.9: 127.0.0.4, weight 1.",
            "is listed by bl.test",
            "Decided by dnsbl, a module.",
        ],
    )
    await told(ringback, "forged@example.com", ["spf=fail", "dmarc=fail", "Decided by dmarc, a module."])


async def test_a_sender_that_spf_does_not_confirm_is_not_probed_and_can_be_refused(
    stage: Stage, tmp_path: Path
) -> None:
    exchanger = await stage.exchanger("ok.test")
    zone = (
        '_dmarc.ok.test TXT "v=DMARC1; p=reject"',
        'ok.test TXT "v=spf1 ip4:192.0.2.0/24 ~all"',
        "ok.test MX 10 mx.ok.test.",
        f"mx.ok.test A {exchanger.address}",
    )
    lines = [
        'spf_v1 "spf" { }',
        "smtp_cbv active {",
        f"port = {exchanger.port}",
        "store = memory",
        "allow_networks = ( 127.0.0.0/8 )",
        "dmarc_reject_unprobed = yes",
        "}",
    ]
    ringback, _ = await with_names(stage, tmp_path, *lines, zone=zone)
    said = await deliver(ringback, PLAIN, sender="a@ok.test")
    assert said == ["550 5.7.1 SPF does not confirm the sender, and its domain wants such mail rejected"]
    assert exchanger.dialogues == []
