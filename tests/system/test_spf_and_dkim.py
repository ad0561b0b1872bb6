"""SPF and DKIM by the real command: configuration, name server, scripts, message, log and history."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.consoles import refused, said, value
from tests.support.exchanger import Exchanger
from tests.support.nameserver import ScriptedNameserver
from tests.support.ringback import Ringback, Setup
from tests.support.servers import MAIL_DOMAIN
from tests.support.signing import rsa_key, signed
from tests.support.waiting import eventually
from tests.system.test_history import told

MESSAGE = b"From: Alice <alice@a.test>\r\nSubject: hi\r\nMessage-ID: <m1@a.test>\r\n\r\nhello\r\n"
SCRIPT = """\
($domains) = ec_dkim_domains;
($responsible) = ec_dkim_responsible_domain;
$spf = vctx_mess_get "spf_status";
$dkim = vctx_mess_get "dkim_status";
ec_header_add "X-Seen" "${spf} ${dkim} ${domains} ${responsible}";
"""
STANZAS = """\
Validate validate/spf spf_v1 {{ fail_code = 550 }}
Validate validate/dkim dkim_validate {{ }}
Module generic/bounce_classifier bounces {{ user_smtp_classification_override = "{rules}" }}
dnsbl {{ zones = [ bl.test = [ test = no checks = ( client sender ) ] ] }}
Validate validate/sieve sieve {{
  data_phase1 = "/path/to/myscript.siv"
}}
"""


def _zone() -> list[str]:
    key = rsa_key().record.decode()
    parts = " ".join(f'"{key[at : at + 200]}"' for at in range(0, len(key), 200))
    return [
        'a.test TXT "v=spf1 ip4:127.0.0.0/8 -all"',
        'fail.test TXT "v=spf1 -all exp=why.fail.test"',
        'why.fail.test TXT "not from %{i}"',
        "norecord.test A 192.0.2.1",
        f"s1._domainkey.a.test TXT {parts}",
        "s1._domainkey.gone.test SERVFAIL",
    ]


async def test_what_a_sender_is_reaches_scripts_the_message_the_log_and_the_history(tmp_path: Path) -> None:
    async with ScriptedNameserver(_zone()) as names, Exchanger() as upstream:
        state = tmp_path / "state"
        state.mkdir(mode=0o700)
        (tmp_path / "rules").write_text(",51,first\n")
        stanzas = STANZAS.format(rules=tmp_path / "rules")
        setup = Setup(
            upstream_port=upstream.port, nameserver=names.address, stanzas=stanzas, script=SCRIPT,
            core=(f'State_Directory = "{state}"',),
        )  # fmt: skip
        ringback = await Ringback(setup, tmp_path).started()
        try:
            await _senders(ringback)
            results = [each["results"] for each in ringback.log if each["event"] == "authentication"]
            assert [each.partition(" ")[0] for each in results] == ["spf=pass", "spf=fail", "spf=none", "spf=neutral"]
            (message, other) = [each for each in ringback.log if each["event"] == "message"]
            assert message["authentication"] == "spf=pass dkim=pass/a.test dkim=temperror/gone.test"
            assert other["authentication"] == "spf=neutral"
            story = await told(ringback, "m1@a.test", ["spf=pass", "dkim=pass", "dkim=temperror", "header.d=gone.test"])
            assert "The results of the sender checks:" in story
            await _operated(state, tmp_path / "rules")
        finally:
            await asyncio.to_thread(ringback.stop)  # our servers answer its goodbyes
    _check(upstream.messages[0].content, upstream.messages[1].content)


async def _operated(state: Path, rules: Path) -> None:
    """Empty what checks remember, at the console."""
    caches = {each["cache"]: each["elements"] for each in await value(state, "cache stats")}
    assert (caches["keys of checks"], caches["dns of checks"] > 0) == (1, True)
    assert await said(state, "dns_cache lookup a.test.bl.test a") == ["a.test.bl.test A NXDOMAIN"]
    assert await said(state, "dkim flush keycache") == ["flushed 1 keys"]
    assert await said(state, "dkim_validate flush keycache") == ["flushed 0 keys"]
    assert await value(state, "dns flush A.test.BL.test.") == {"flushed": 1}
    assert await said(state, "dns_cache lookup a.test.bl.test a") == ["Cached result not found"]
    assert (await value(state, "dns flush"))["flushed"] > 0
    assert await value(state, "dns flush") == {"flushed": 0}
    await asyncio.to_thread(rules.write_text, ",51,first\n,52,second\n")
    assert await said(state, "bounce_classifier reload") == ["2 rules hold"]
    await asyncio.to_thread(rules.write_text, "nonsense\n")
    why = await refused(state, "bounce_classifier reload")
    assert why == "the old rules stay: line 1 is not a rule: nonsense"


async def _senders(ringback: Ringback) -> None:
    twice = signed(MESSAGE).replace(MESSAGE, signed(MESSAGE, domain="gone.test"))
    async with await ringback.conversation() as client:
        assert (await client.deliver("alice@a.test", [f"bob@{MAIL_DOMAIN}"], twice))[:3] == "250"
        refused = await client.ask("MAIL FROM:<x@fail.test>")
        assert refused == "550 5.7.23 The domain fail.test explained: not from 127.0.0.1"
        assert await client.ask("MAIL FROM:<x@unknown.test>") == "550 5.1.8 Could not resolve sender's domain"
        assert (await client.deliver("x@norecord.test", [f"bob@{MAIL_DOMAIN}"], b"From: x@y.test\r\n\r\nhi\r\n"))[
            :1
        ] == "2"
    await eventually(lambda: sum(each["event"] == "message" for each in ringback.log) == 2, "both are logged")


def _check(first: bytes, second: bytes) -> None:
    head = first.partition(b"\r\n\r\n")[0]
    assert b"\r\nX-Seen: pass pass a.test a.test\r\n" in head
    assert head.lower().count(b"authentication-results: ringback.test;") == 1
    assert b"\r\nReceived-SPF: pass (domain of a.test designates 127.0.0.1 as permitted sender)" in head
    assert b"\r\nX-Seen: neutral none  y.test\r\n" in second
