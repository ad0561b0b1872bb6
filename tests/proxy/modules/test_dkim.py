"""dkim_validate: what it finds in a session, tells scripts, and writes into messages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from config.diagnostics import Source
from proxy.app import library, load
from proxy.base.rejected import ConfigurationRejected
from proxy.dns.answers import Value
from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.arc.module import ArcValidator
from proxy.modules.arc.options import ArcOptions
from proxy.modules.dkim_validate.module import DkimValidator
from proxy.modules.dkim_validate.options import DkimOptions
from sieve.compile.compiler import compile_script
from sieve.phases import Need, Phase
from tests.proxy.arc.test_verifying import KEYS as CHAIN_KEYS
from tests.proxy.arc.test_verifying import chain
from tests.sieve.plain_host import PlainHost, PlainMessage
from tests.support.answers import settled
from tests.support.exchanger import Exchanger, Message
from tests.support.signing import KeyRecords, rsa_key, signed, unavailable
from tests.support.worker import ALICE, BOB, LETTER, Rule, WorkerStage, serving

MESSAGE = b"From: Alice <alice@a.test>\r\nSubject: hi\r\n\r\nhello\r\n.\r\n..two dots\r\n"
KEYS = {f"s1._domainkey.{domain}": rsa_key().record for domain in ("a.test", "b.test")}
DOWN = {"s1._domainkey.a.test": unavailable("a.test")}


def verifying(records: Any = None, **options: object) -> DkimValidator:
    found = records if hasattr(records, "records") else KeyRecords(KEYS if records is None else records)
    return DkimValidator("dkim_validate", DkimOptions.model_validate(options), found)


class Noting:
    """Notes context variables of the message after the module."""

    def __init__(self, *variables: str) -> None:
        self.seen: list[list[str | None]] = []
        self.variables = variables
        self.rule = Rule(Phase.SPOOL, self._note)

    async def _note(self, session: Session) -> Verdict:
        self.seen.append([session.transaction.context.get(each) for each in self.variables])
        return PASS


async def delivered(stage: WorkerStage, *messages: bytes) -> None:
    client = await stage.greeted()
    for message in messages:
        assert (await client.deliver(ALICE, [BOB], message))[:3] == "250"
    await client.close()


def fields(message: Message, name: str) -> list[str]:
    head = message.content.partition(b"\r\n\r\n")[0].replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ").decode()
    return [each.partition(": ")[2] for each in head.split("\r\n") if each.lower().startswith(f"{name.lower()}:")]


BROKEN = signed(MESSAGE, domain="b.test")[: -len(MESSAGE)].replace(b"bh=", b"bh=AAAA")


async def test_two_signatures_one_valid_are_two_clauses_of_one_field() -> None:
    noting = Noting("dkim_status", "dkim_domains")
    message = BROKEN + signed(MESSAGE)
    async with Exchanger() as upstream, serving(upstream, verifying(), noting.rule) as stage:
        await delivered(stage, message)
    assert noting.seen == [["pass", "a.test"]]
    (results,) = fields(upstream.messages[0], "Authentication-Results")
    own, first, second = results.split("; ")
    assert own == "ringback.test"
    assert first.startswith("dkim=fail (the body hash did not verify) header.d=b.test header.i=@b.test header.s=s1")
    assert second.startswith("dkim=pass header.d=a.test header.i=@a.test header.s=s1 header.a=rsa-sha256 header.b=")
    assert upstream.messages[0].content.endswith(message)


@pytest.mark.parametrize("turned", [False, True])
async def test_a_chain_that_a_module_of_the_same_name_judges_hides_no_signature(*, turned: bool) -> None:
    noting = Noting("dkim_status", "dkim_domains", "arc_status")
    records = KeyRecords(KEYS | CHAIN_KEYS)
    arc, dkim = ArcValidator("x", ArcOptions(), records), DkimValidator("x", DkimOptions(), records)
    other = DkimValidator("x", DkimOptions.model_validate({"context_variable": "other"}), records)
    rules = [dkim, arc, other] if turned else [arc, other, dkim]
    async with Exchanger() as upstream, serving(upstream, *rules, noting.rule) as stage:
        await delivered(stage, signed(chain(1)))
    assert noting.seen == [["pass", "a.test", "pass"]]


async def test_an_unsigned_message_gets_no_field_and_is_not_kept() -> None:
    noting = Noting("dkim_status", "dkim_domains")
    async with Exchanger() as upstream, serving(upstream, verifying(), noting.rule) as stage:
        await delivered(stage, LETTER)
    assert noting.seen == [["none", None]]
    assert fields(upstream.messages[0], "Authentication-Results") == []


async def test_each_message_of_a_session_has_its_own_results() -> None:
    noting = Noting("dkim_status", "dkim_domains")
    changed = signed(MESSAGE).replace(b"hello", b"Hello")
    async with Exchanger() as upstream, serving(upstream, verifying(), noting.rule) as stage:
        await delivered(stage, signed(MESSAGE))
        await delivered(
            stage,
            changed,
        )
        await delivered(stage, LETTER)
    assert noting.seen == [["pass", "a.test"], ["fail", ""], ["none", None]]


@pytest.mark.parametrize("octets", [0, 1, 16_384, 65_536, 300_000])
async def test_a_body_of_any_size_is_judged_as_it_was_sent(octets: int) -> None:
    noting = Noting("dkim_status")
    line = b".dots and text that is no more than a line\r\n"
    body = (line * (octets // len(line) + 1))[:octets] + b"\r\n"
    message = signed(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body, canon="simple/simple")
    async with Exchanger() as upstream, serving(upstream, verifying(), noting.rule) as stage:
        await delivered(stage, message)
    assert noting.seen == [["pass"]]
    assert upstream.messages[0].content.endswith(message)


@pytest.mark.parametrize("binary", [False, True])
async def test_a_message_in_chunks_is_judged_too(*, binary: bool) -> None:
    noting = Noting("dkim_status")
    message = signed(MESSAGE, canon="simple/simple")
    async with Exchanger() as upstream, serving(upstream, verifying(), noting.rule) as stage:
        client = await stage.greeted()
        await client.ask(f"MAIL FROM:<{ALICE}>{' BODY=8BITMIME' if binary else ''}")
        await client.ask(f"RCPT TO:<{BOB}>")
        for at in range(0, len(message), 7):
            piece = message[at : at + 7]
            await client.send_raw(f"BDAT {len(piece)}\r\n".encode() + piece)
            await client.reply()
        assert (await client.ask("BDAT 0 LAST"))[:3] == "250"
        await client.close()
    assert noting.seen == [["pass"]]


async def test_a_script_that_changes_the_message_changes_no_result() -> None:
    async def change(session: Session) -> Verdict:
        assert session.transaction.message is not None
        session.transaction.message.change_header("Subject", 0, "other")
        return PASS

    noting = Noting("dkim_status")
    async with Exchanger() as upstream, serving(upstream, Rule(Phase.DATA, change), verifying(), noting.rule) as stage:
        await delivered(stage, signed(MESSAGE))
    assert noting.seen == [["pass"]]


async def test_a_name_server_that_does_not_answer_is_temperror() -> None:
    noting = Noting("dkim_status")
    async with Exchanger() as upstream, serving(upstream, verifying(DOWN), noting.rule) as stage:
        await delivered(stage, signed(MESSAGE))
    assert noting.seen == [["temperror"]]


class Silent:
    """A name server that never answers."""

    async def records(self, _name: str, _record_type: str) -> Sequence[Value]:
        await asyncio.Event().wait()
        return ()


async def test_a_name_server_that_says_nothing_costs_the_time_limit_and_not_the_mail() -> None:
    noting = Noting("dkim_status")
    async with Exchanger() as upstream, serving(upstream, verifying(Silent(), timeout=0.05), noting.rule) as stage:
        await delivered(stage, signed(MESSAGE))
    assert noting.seen == [["temperror"]]


async def test_the_variable_may_have_another_name_and_the_field_may_be_off() -> None:
    noting = Noting("my_dkim")
    quiet = verifying(context_variable="my_dkim", add_authentication_results=False)
    async with Exchanger() as upstream, serving(upstream, quiet, noting.rule) as stage:
        await delivered(stage, signed(MESSAGE))
    assert noting.seen == [["pass"]]
    assert fields(upstream.messages[0], "Authentication-Results") == []


async def test_the_keys_of_several_signatures_are_asked_for_at_once() -> None:
    class Gate(KeyRecords):
        both = asyncio.Event()

        async def records(self, name: str, record_type: str) -> Sequence[Value]:
            found = await super().records(name, record_type)
            if len(self.asked) == 2:
                self.both.set()
            await self.both.wait()
            return found

    noting = Noting("dkim_status")
    message = signed(MESSAGE, domain="b.test")[: -len(MESSAGE)] + signed(MESSAGE)
    async with Exchanger() as upstream, serving(upstream, verifying(Gate(KEYS)), noting.rule) as stage:
        await delivered(stage, message)
    assert noting.seen == [["pass"]]


def test_it_reads_only_the_header_section_so_unsigned_mail_streams() -> None:
    assert verifying().needs(Phase.DATA) is Need.HEADERS


# ---------------------------------------------------------------- configuration and scripts


@pytest.mark.parametrize(
    "stanza",
    [
        "Validate validate/dkim dkim_validate { keycache_size = 10 }",
        'dkim_validate "d" { pos_keycache_ttl = 5 neg_keycache_ttl = 0 }',
        'opendkim "d" { }',
    ],
)
def test_each_form_of_the_stanza_loads(tmp_path: Path, stanza: str) -> None:
    file = tmp_path / "ecelerity.conf"
    file.write_text(f'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "r.test"\nGateway = "127.0.0.1"\n{stanza}\n')
    assembly, warnings = load(file)
    assert [each.message for each in warnings if "dkim" in each.message] == []
    (options,) = [each.options for each in assembly.settings.modules]
    assert isinstance(options, DkimOptions)


@pytest.mark.parametrize(
    ("head", "responsible"),
    [
        ("From: A <a@From.Test>\nSender: s@sender.test", "sender.test"), ("From: A <a@From.Test>", "from.test"),
        ("Sender: none\nFrom: a@from.test", "from.test"), ("Subject: x", ""), ("From: a@" + "x" * 40_000, None),
    ],
)  # fmt: skip
async def test_scripts_see_the_domains_and_who_is_responsible(head: str, responsible: str | None) -> None:
    source = Source(
        "t.siv",
        '($all) = ec_dkim_domains;\nif ec_test :is $all "a.test" { vctx_mess_set "has" "a"; }\n'
        '($who) = ec_dkim_responsible_domain;\nvctx_mess_set "who" "${who}";',
    )
    found = compile_script(source, library=library(), modules=frozenset({"dkim_validate"}))
    assert found.script is not None, found.diagnostics
    host = PlainHost(message=PlainMessage(f"{head}\n\n"))
    host.vctx_mess["dkim_domains"] = "a.test b.test"
    await settled(found.script.start(host))
    assert host.vctx_mess["has"] == "a"
    assert responsible is None or host.vctx_mess["who"] == responsible


@pytest.mark.parametrize(("stanza", "loads"), [("opendkim { }", True), ("dkim_validate { }", True), ("", False)])
def test_either_name_of_the_module_brings_the_functions(tmp_path: Path, stanza: str, *, loads: bool) -> None:
    (tmp_path / "t.siv").write_text("($all) = ec_dkim_domains;\n")
    file = tmp_path / "ecelerity.conf"
    head = 'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "r.test"\nGateway = "127.0.0.1"\n'
    file.write_text(f'{head}{stanza}\nsieve {{ data_phase1 = "t.siv" }}\n')
    if loads:
        load(file)
        return
    with pytest.raises(ConfigurationRejected) as rejected:
        load(file)
    assert "dkim_validate" in str([each.hint or each.message for each in rejected.value.diagnostics])
