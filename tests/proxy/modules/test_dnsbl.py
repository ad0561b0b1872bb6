"""dnsbl: who is listed, what it weighs, and where mail is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from proxy.app import load_service
from proxy.base.tasks import TaskOwner
from proxy.mail.message import Message
from proxy.mail.session import Session
from proxy.modules.dnsbl import health, lists
from proxy.modules.dnsbl.codes import pattern
from proxy.modules.dnsbl.kinds import KINDS, OF_MESSAGE, OF_SESSION, OfMessage, OfSession
from proxy.modules.dnsbl.lists import Lists
from proxy.modules.dnsbl.module import DnsblValidator
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.dnsbl.zones import Zone, ZoneOptions
from sieve.phases import Phase
from tests.proxy.modules.test_mail_loop import CORE
from tests.support.lookups import Records, Zonefile, asked, has_message, stranger, working
from tests.support.nameserver import ScriptedNameserver

OWNER = TaskOwner("test")

BAD = "bad.test"
"""A zone."""

LISTED: Records = {("1.2.0.192.bad.test", "A"): ["127.0.0.2"]}
TO_BOB = "bob@example.com"
ALL = (Phase.CONNECT, Phase.EHLO, Phase.MAILFROM, Phase.RCPTTO)


def zone(name: str = BAD, **options: object) -> Zone:
    return Zone(name, ZoneOptions.model_validate(options))


class Stage:
    """A validator with its zones and its name server."""

    def __init__(self, records: Records, *zones: Zone, **options: object) -> None:
        known = zones or (zone(),)
        self.names = Zonefile({**working(*[each.name for each in known]), **records})
        settings = DnsblOptions.model_validate({"zones": known, **options})
        lookups = self.names.lookups
        self.lists = Lists(known, lookups, settings.timeout, OWNER)
        self.validator = DnsblValidator("dnsbl", settings, self.lists, lookups)

    async def reply(self, session: Session, *phases: Phase) -> str:
        verdict = await asked(self.validator, session, *(phases or ALL))
        await OWNER.cancel()
        if session.transaction.message is not None and Phase.DATA in phases:
            session.transaction.message.close()
        return "" if verdict.reply is None else f"{verdict.reply.code} {verdict.reply.text}"


async def test_a_listed_client_is_refused_at_rcpt() -> None:
    stage = Stage(LISTED)
    session = stranger(TO_BOB)
    assert (await asked(stage.validator, session, Phase.CONNECT, Phase.MAILFROM)).reply is None
    assert await stage.reply(session, Phase.RCPTTO) == "554 5.7.1 192.0.2.1 is listed by bad.test"
    context = session.transaction.context
    assert (context["dnsbl_status"], context["dnsbl_score"], context["dnsbl_zones"]) == ("listed", "1", BAD)


async def test_the_look_ups_begin_at_connect() -> None:
    stage = Stage(LISTED)
    session = stranger(TO_BOB)
    await asked(stage.validator, session, Phase.CONNECT)
    for task in tuple(OWNER.tasks):
        await task
    assert ("1.2.0.192.bad.test", "A") in stage.names.asked
    await OWNER.cancel()


async def test_a_client_that_is_not_listed_passes() -> None:
    session = stranger(TO_BOB, client="192.0.2.3")
    assert await Stage(LISTED).reply(session) == ""
    assert session.transaction.context["dnsbl_status"] == "none"


async def test_an_ipv6_client_is_asked_by_nibbles() -> None:
    nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    stage = Stage({(f"{nibbles}.bad.test", "A"): ["127.0.0.2"]})
    assert (await stage.reply(stranger(TO_BOB, client="2001:db8::1"))).startswith("554")


@pytest.mark.parametrize(
    ("answers", "refused"),
    [
        (["127.0.0.2"], True),
        (["127.0.0.10", "127.0.0.4"], True),
        (["127.1.2.3"], True),
        (["192.0.2.99"], False),
        (["128.0.0.2"], False),
        (["126.0.0.2"], False),
        (["127.255.255.254"], False),
        (["127.255.255.252", "127.0.0.2"], False),
        (["127.255.254.1"], True),
        ([], False),
        ("SERVFAIL", False),
        ("REFUSED", False),
    ],
)
async def test_only_answers_in_127_count_and_127_255_255_is_an_error(
    answers: list[str] | str, *, refused: bool
) -> None:
    stage = Stage({("1.2.0.192.bad.test", "A"): answers})
    assert bool(await stage.reply(stranger(TO_BOB))) == refused


@pytest.mark.parametrize(
    ("codes", "answer", "refused"),
    [
        (["127.0.0.2"], "127.0.0.2", True),
        (["127.0.0.2"], "127.0.0.3", False),
        (["127.0.0.[2..11]"], "127.0.0.11", True),
        (["127.0.0.[2..11]"], "127.0.0.12", False),
        (["127.0.*.[1;3]"], "127.0.9.3", True),
        (["127.0.*.[1;3]"], "127.0.9.2", False),
        (["127.0.0.4", "127.0.0.2"], "127.0.0.2", True),
    ],
)
async def test_a_list_of_codes_limits_what_counts(codes: list[str], answer: str, *, refused: bool) -> None:
    stage = Stage({("1.2.0.192.bad.test", "A"): [answer]}, zone(codes=tuple(pattern(each) for each in codes)))
    assert bool(await stage.reply(stranger(TO_BOB))) == refused


async def test_weights_of_zones_add_up_to_the_threshold() -> None:
    records = {**LISTED, ("1.2.0.192.worse.test", "A"): ["127.0.0.2"]}
    zones = (zone(weight=2), zone("worse.test", weight=3))
    assert (await Stage(records, *zones, reject_score=5).reply(stranger(TO_BOB))).endswith("listed by worse.test")
    assert await Stage(records, *zones, reject_score=6).reply(stranger(TO_BOB)) == ""
    assert (await Stage(records, *zones, reject_score=6, defer_score=5).reply(stranger(TO_BOB))).startswith("451 4.7.1")
    assert await Stage(records, *zones, reject_score=0).reply(stranger(TO_BOB)) == ""


async def test_a_negative_weight_takes_from_the_score() -> None:
    records = {**LISTED, ("1.2.0.192.good.test", "A"): ["127.0.5.1"]}
    zones = (zone(weight=3), zone("good.test", weight=-2))
    session = stranger(TO_BOB)
    assert await Stage(records, *zones, reject_score=2).reply(session) == ""
    assert session.transaction.context["dnsbl_score"] == "1"


async def test_one_zone_counts_once_whatever_it_lists() -> None:
    records = {**LISTED, ("sender.test.bad.test", "A"): ["127.0.0.2"]}
    session = stranger(TO_BOB)
    await Stage(records, zone(checks=("client", "sender")), reject_score=2).reply(session)
    assert session.transaction.context["dnsbl_score"] == "1"


async def test_an_allow_list_comes_before_all_others() -> None:
    records = {**LISTED, ("1.2.0.192.good.test", "A"): ["127.0.5.1"]}
    session = stranger(TO_BOB)
    assert await Stage(records, zone(), zone("good.test", allow=True)).reply(session) == ""
    assert session.transaction.context["dnsbl_status"] == "allowed"
    strict = zone(honor_whitelist=False)
    assert (await Stage(records, strict, zone("good.test", allow=True)).reply(stranger(TO_BOB))).startswith("554")


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("helo", "helo.test"),
        ("sender", "sender.test"),
        ("ptr", "name.test"),
        ("recipient", "example.com"),
    ],
)
async def test_names_are_looked_up_in_the_zones_for_them(kind: str, question: str) -> None:
    records = {
        (f"{question}.bad.test", "A"): ["127.0.0.2"],
        ("192.0.2.1", "PTR"): ["mx.name.test"],
        ("mx.name.test", "A"): ["192.0.2.1"],
    }
    session = stranger(TO_BOB, helo="mx.helo.test", sender="a@mail.sender.test")
    stage = Stage(records, zone(checks=(kind,)))
    assert (await stage.reply(session)).startswith("554 5.7.1")
    other = Stage(records, zone(checks=("client",)))
    assert await other.reply(stranger(TO_BOB, helo="mx.helo.test", sender="a@mail.sender.test")) == ""


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_check_asks_its_zone_and_is_on_the_page(kind: str) -> None:
    records = {("192.0.2.1", "PTR"): ["mx.name.test"], ("mx.name.test", "A"): ["192.0.2.1"]}
    session = stranger(TO_BOB, helo="mx.helo.test", sender="a@sender.test")
    has_message(session, b"From: a@header.test\r\n\r\nsee http://link.test/\r\n")
    stage = Stage(records, zone(checks=(kind,), test=False))
    await stage.reply(session, *ALL, Phase.DATA)
    questions = [name for name, _ in stage.names.asked if name.endswith(f".{BAD}")]
    hint = "give the session or the message above what this kind looks up"
    assert questions, f"{hint}, or it is not a name that questions.of_domain asks: then say in its row what is `asked`"
    page = (Path(__file__).parents[3] / "docs" / "blocklists.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| `checks` |")]
    assert f"`{kind}`" in row, "add it to docs/blocklists.md"


async def _message_id_domain(message: Message, _fields: Sequence[str]) -> Sequence[str]:
    return [body.strip("<> ").rpartition("@")[2] for body in message.header("Message-ID")]


async def test_a_new_kind_of_check_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    own = OfSession(Phase.MAILFROM, lambda session: [session.transaction.reverse_path.local_part + ".test"])
    monkeypatch.setattr(lists, "OF_SESSION", {**OF_SESSION, "user": own})
    monkeypatch.setattr(lists, "OF_MESSAGE", {**OF_MESSAGE, "message_id": OfMessage(_message_id_domain)})
    stage = Stage({("odd.test.bad.test", "A"): ["127.0.0.2"]}, zone(checks=("user", "message_id"), test=False))
    for sender, field, said in (("odd@sender.test", "x@fine.test", "554"), ("a@sender.test", "x@odd.test", "554"),
                                ("a@sender.test", "x@fine.test", "")):  # fmt: skip
        session = has_message(stranger(TO_BOB, sender=sender), f"Message-ID: <{field}>\r\n\r\nx\r\n".encode())
        assert (await stage.reply(session, *ALL, Phase.DATA))[:3] == said, (sender, field)


def _hash(subject: str) -> list[str]:
    return [sha1(subject.encode(), usedforsecurity=False).hexdigest()]


async def test_a_kind_that_is_asked_in_another_form_is_one_row_and_the_reply_has_the_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def address(message: Message, _fields: Sequence[str]) -> Sequence[str]:
        return message.header("From")

    hashed = OfSession(Phase.EHLO, lambda session: [session.host_name or ""], asked=_hash)
    monkeypatch.setattr(lists, "OF_SESSION", {**OF_SESSION, "hashed": hashed})
    monkeypatch.setattr(lists, "OF_MESSAGE", {**OF_MESSAGE, "hashed_from": OfMessage(address, asked=_hash)})
    records = {(f"{_hash(each)[0]}.bad.test", "A"): ["127.0.0.2"] for each in ("odd", "a@b.test")}
    own = zone(checks=("hashed", "hashed_from"), reason="%s is odd", forward=True, test=False)
    for helo, author, said in (("odd", "x@b.test", "odd is odd"), ("mx.test", "a@b.test", "a@b.test is odd"),
                               ("mx.test", "x@b.test", ""), ("", "x@b.test", "")):  # fmt: skip
        stage = Stage(records, own)
        session = has_message(stranger(TO_BOB, helo=helo), f"From: {author}\r\n\r\nx\r\n".encode())
        reply = await stage.reply(session, *ALL, Phase.DATA)
        assert (said in reply, bool(reply)) == (True, bool(said)), (helo, author)
        asked_names = {name for name, _ in stage.names.asked}
        assert asked_names.isdisjoint({"odd", "a@b.test", "x@b.test"}), "they are no names, so they have no addresses"


async def test_recipients_are_looked_up_also_if_the_message_is_judged() -> None:
    stage = Stage({("example.com.bad.test", "A"): ["127.0.0.2"]}, zone(checks=("recipient",)), reject_at="data")
    session = has_message(stranger(TO_BOB), b"Subject: x\r\n\r\nx\r\n")
    assert (await stage.reply(session, *ALL, Phase.DATA)).startswith("554 5.7.1 example.com is listed")


async def test_a_name_that_does_not_lead_back_is_not_looked_up() -> None:
    records = {
        ("name.test.bad.test", "A"): ["127.0.0.2"],
        ("192.0.2.1", "PTR"): ["mx.name.test"],
        ("mx.name.test", "A"): ["192.0.2.9"],
    }
    assert await Stage(records, zone(checks=("ptr",))).reply(stranger(TO_BOB)) == ""


async def test_the_registered_domain_is_asked_and_the_full_one_if_wanted() -> None:
    records = {("a.b.sender.test.bad.test", "A"): ["127.0.0.2"]}
    sender = "x@a.b.sender.test"
    assert await Stage(records, zone(checks=("sender",))).reply(stranger(TO_BOB, sender=sender)) == ""
    full = zone(checks=("sender",), names="full")
    assert (await Stage(records, full).reply(stranger(TO_BOB, sender=sender))).startswith("554")


@pytest.mark.parametrize("name", ["[192.0.2.1]", "no dots", "a..b", "-", "x" * 300, "a\\046b.test", "bücher.test", "*"])
async def test_a_name_that_dns_does_not_have_is_not_asked(name: str) -> None:
    stage = Stage({}, zone(checks=("helo",), test=False))
    assert await stage.reply(stranger(TO_BOB, helo=name)) == ""
    assert stage.names.asked == []


async def test_links_and_address_fields_are_judged_at_the_message() -> None:
    records = {("evil.test.bad.test", "A"): ["127.0.0.2"], ("9.2.0.192.bad.test", "A"): ["127.0.0.2"]}
    cases = [
        (zone(checks=("url",)), b"Subject: x\r\n\r\nsee http://www.evil.test/a\r\n", "evil.test"),
        (zone(checks=("url",)), b"Subject: x\r\n\r\nsee http://192.0.2.9/a\r\n", ""),
        (zone(checks=("url",), addresses=True), b"Subject: x\r\n\r\nsee http://192.0.2.9/a\r\n", "192.0.2.9"),
        (zone(checks=("header",)), b"Reply-To: a@evil.test\r\n\r\nx\r\n", "evil.test"),
        (zone(checks=("url",)), b"Reply-To: a@evil.test\r\n\r\nx\r\n", ""),
    ]
    for each, content, listed in cases:
        session = has_message(stranger(TO_BOB), content)
        said = await Stage(records, each).reply(session, *ALL, Phase.DATA)
        assert said.startswith("554") == bool(listed), content
        assert listed in said


async def test_names_of_links_are_looked_up_by_their_addresses_if_wanted() -> None:
    records = {("www.evil.test", "A"): ["192.0.2.9"], ("9.2.0.192.bad.test", "A"): ["127.0.0.2"]}
    content = b"Subject: x\r\n\r\nsee http://www.evil.test/a\r\n"
    forward = zone(checks=("url",), forward=True)
    assert (await Stage(records, forward).reply(has_message(stranger(TO_BOB), content), Phase.DATA)).startswith("554")


async def test_a_hundred_thousand_links_are_bounded() -> None:
    body = b"".join(b"http://h%d.test/ " % at for at in range(100_000))
    stage = Stage({}, zone(checks=("url",), test=False), max_lookups=50)
    assert await stage.reply(has_message(stranger(TO_BOB), b"Subject: x\r\n\r\n" + body), Phase.DATA) == ""
    assert len(stage.names.asked) <= 52


async def test_postmaster_and_abuse_get_mail_from_listed_clients() -> None:
    for recipient in ("postmaster@example.com", "ABUSE@example.com"):
        assert await Stage(LISTED).reply(stranger(recipient)) == ""
    links = {("evil.test.bad.test", "A"): ["127.0.0.2"]}
    content = b"Subject: x\r\n\r\nhttp://evil.test/\r\n"
    alone = has_message(stranger("postmaster@example.com"), content)
    assert await Stage(links, zone(checks=("url",))).reply(alone, Phase.DATA) == ""
    beside = has_message(stranger("postmaster@example.com", TO_BOB), content)
    assert (await Stage(links, zone(checks=("url",))).reply(beside, Phase.DATA)).startswith("554")


async def test_trusted_clients_are_not_looked_up() -> None:
    stage = Stage(LISTED)
    session = stranger(TO_BOB)
    session.can_relay = True
    assert await stage.reply(session, *ALL, Phase.DATA) == ""
    assert stage.names.asked == []


@pytest.mark.parametrize("place", ["connect", "mailfrom", "rcptto", "data"])
async def test_it_refuses_where_reject_at_says(place: str) -> None:
    order = (*ALL, Phase.DATA)
    until = order.index(Phase(place))
    stage = Stage(LISTED, reject_at=place)
    if until:
        assert await stage.reply(stranger(TO_BOB), *order[:until]) == ""
    session = stranger(TO_BOB)
    if place == "data":
        has_message(session, b"Subject: x\r\n\r\nx\r\n")
    assert (await stage.reply(session, *order[: until + 1])).startswith("554")


async def test_the_words_of_a_refusal() -> None:
    percent = zone(reason="Go away, %s: see https://bad.test/?%s 100%", code=550)
    assert await Stage(LISTED, percent).reply(stranger(TO_BOB)) == (
        "550 5.7.1 Go away, 192.0.2.1: see https://bad.test/?192.0.2.1 100%"
    )
    assert await Stage(LISTED, zone(reason="5.7.999 Own code")).reply(stranger(TO_BOB)) == "554 5.7.999 Own code"
    own = {**LISTED, ("1.2.0.192.bad.test", "TXT"): ["Listed\r\n250 ok\t%s \N{SNOWMAN}"]}
    assert await Stage(own, zone(txt=True)).reply(stranger(TO_BOB)) == "554 5.7.1 Listed 250 ok %s ?"
    assert await Stage(LISTED, zone(txt=True)).reply(stranger(TO_BOB)) == "554 5.7.1 192.0.2.1 is listed by bad.test"
    long = {**LISTED, ("1.2.0.192.bad.test", "TXT"): ["x" * 60_000]}
    assert len(await Stage(long, zone(txt=True)).reply(stranger(TO_BOB))) < 500


async def test_what_a_client_writes_is_not_interpolated_twice() -> None:
    records = {("sender.test.bad.test", "A"): ["127.0.0.2"]}
    said = await Stage(records, zone(checks=("sender",), reason="no %s")).reply(stranger(TO_BOB))
    assert said == "554 5.7.1 no sender.test"


async def test_zones_that_are_silent_list_nothing_and_cost_one_deadline() -> None:
    silent = {("1.2.0.192.bad.test", "A"): "SILENT", ("1.2.0.192.good.test", "A"): ["127.0.0.2"]}
    stage = Stage(silent, zone(), zone("good.test"), timeout=0.1)
    assert (await stage.reply(stranger(TO_BOB))).endswith("listed by good.test")


async def test_a_client_whose_reverse_name_is_not_answered_waits_for_one_deadline_only() -> None:
    stage = Stage({("192.0.2.1", "PTR"): "SILENT"}, zone(checks=("ptr",)), timeout=0.1)
    session = stranger(TO_BOB)
    verdict = await asked(stage.validator, session, *ALL)
    assert verdict.reply is None
    (looking,) = stage.validator._asked(session).looking.values()
    assert looking.done()
    await OWNER.cancel()


@pytest.mark.parametrize(
    ("helo", "own", "reply"),
    [
        ("\u212aevil.test", [], "554 5.7.1 ?evil.test is bad"),
        ("Evil.Test.", [], "554 5.7.1 Evil.Test. is bad"),
        ("evil.test", ["see\r\n250 ok \x1b[31m\u00fc"], "554 5.7.1 see 250 ok ?[31m?"),
        ("evil.test", ["x" * 1000], f"554 5.7.1 {'x' * 400}"),
    ],
)
async def test_foreign_octets_in_a_refusal_are_no_commands_and_no_lines(helo: str, own: list[str], reply: str) -> None:
    records: Records = {
        (f"{name}.bad.test", kind): value
        for name in ("evil.test", "kevil.test")
        for kind, value in (("A", ["127.0.0.2"]), ("TXT", own))
    }
    stage = Stage(records, zone(checks=("helo",), reason="%s is bad", txt=bool(own)))
    assert " ".join((await stage.reply(stranger(TO_BOB, helo=helo))).split()) == reply


async def test_an_address_field_of_a_mebibyte_is_read_in_part_and_beside_the_loop() -> None:
    records: Records = {("sender.test.bad.test", "A"): ["127.0.0.2"], ("late.test.bad.test", "A"): ["127.0.0.2"]}
    stage = Stage(records, zone(checks=("header",)))
    for first, listed in (("a@sender.test", True), ("a@other.test", False)):
        content = f"From: {first}, {'@' * (1 << 20)}, a@late.test\r\n\r\nx\r\n".encode()
        session = has_message(stranger(TO_BOB), content)
        used = time.thread_time()
        assert ((await stage.reply(session, Phase.DATA)) != "") == listed
        assert time.thread_time() - used < 0.4  # a bound, not a measurement: 0.85 s if all were read here


async def test_each_listing_is_logged_once_in_a_session() -> None:
    stage = Stage(LISTED)
    session = stranger(TO_BOB)
    with capture_logs() as log:
        await asked(stage.validator, session, *ALL, Phase.RCPTTO, Phase.RCPTTO)
    await OWNER.cancel()
    told = [each for each in log if each["event"] == "dnsbl_listed"]
    assert [(each["zone"], each["listed"], each["answer"], each["weight"]) for each in told] == [
        (BAD, "192.0.2.1", "127.0.0.2", 1)
    ]


async def test_an_earlier_sender_of_the_session_does_not_count() -> None:
    records = {("sender.test.bad.test", "A"): ["127.0.0.2"]}
    stage = Stage(records, zone(checks=("sender",)))
    session = stranger(TO_BOB)
    assert (await stage.reply(session)).startswith("554")
    session.transaction = stranger(TO_BOB, sender="a@other.test").transaction
    assert await stage.reply(session, Phase.MAILFROM, Phase.RCPTTO) == ""


async def test_bits_and_values_set_context_variables() -> None:
    records = {("1.2.0.192.bad.test", "A"): ["127.0.0.6"]}
    keys = zone(bits=(((0, 0, 0, 2), "two"), ((0, 0, 0, 8), "eight")), values=(((127, 0, 0, 6), "six"),), weight=0)
    session = stranger(TO_BOB)
    assert await Stage(records, keys).reply(session) == ""
    context = session.transaction.context
    assert (context.get("two"), context.get("eight"), context.get("six")) == ("1", None, "1")


# ---------------------------------------------------------------- whether a zone works


@pytest.mark.parametrize(
    ("checks", "records", "problem"),
    [
        (("client",), {("2.0.0.127.z.test", "A"): ["127.0.0.2"]}, ""),
        (("client",), {}, "127.0.0.2 is not listed"),
        (("client",), {("2.0.0.127.z.test", "A"): ["192.0.2.1"]}, "127.0.0.2 is not listed"),
        (
            ("client",),
            {("2.0.0.127.z.test", "A"): ["127.0.0.2"], ("1.0.0.127.z.test", "A"): ["127.0.0.2"]},
            "127.0.0.1 is listed",
        ),
        (("client",), {("2.0.0.127.z.test", "A"): ["127.255.255.254"]}, "it refuses to answer: 127.255.255.254"),
        (("client",), {("2.0.0.127.z.test", "A"): "SERVFAIL"}, "it does not answer (SERVFAIL)"),
        (("client",), {("2.0.0.127.z.test", "A"): "SILENT"}, "it does not answer"),
        (("url",), {("test.z.test", "A"): ["127.0.0.2"]}, ""),
        (("url",), {("2.0.0.127.z.test", "A"): ["127.0.0.2"]}, "TEST is not listed"),
        (
            ("helo",),
            {("test.z.test", "A"): ["127.0.0.2"], ("invalid.z.test", "A"): ["127.0.0.2"]},
            "INVALID is listed",
        ),
        (("client", "url"), {("2.0.0.127.z.test", "A"): ["127.0.0.2"]}, "TEST is not listed"),
    ],
)
async def test_a_zone_is_used_only_while_its_test_entries_are_right(
    checks: tuple[str, ...], records: Records, problem: str
) -> None:
    names = Zonefile({**records, ("1.2.0.192.z.test", "A"): ["127.0.0.2"], ("sender.test.z.test", "A"): ["127.0.0.2"]})
    one = zone("z.test", checks=checks)
    lists = Lists([one], names.lookups, 0.1, OWNER)
    with capture_logs() as log:
        await lists.health.look(one)
    assert lists.health.off.get("z.test", "") == problem
    assert [each["reason"] for each in log if each["event"] == "dnsbl_zone_off"] == ([problem] if problem else [])
    subjects = {"client": "192.0.2.1", "helo": "sender.test", "url": "sender.test"}
    hits = await lists.look(checks[0], [subjects[checks[0]]], 10)
    assert bool(hits) == (not problem)
    await OWNER.cancel()


async def test_nobody_is_refused_by_a_zone_before_it_was_looked_at() -> None:
    names = Zonefile({("1.2.0.192.z.test", "A"): ["127.0.0.2"], ("2.0.0.127.z.test", "A"): "SILENT"})
    lists = Lists([zone("z.test")], names.lookups, 0.1, OWNER)
    assert await lists.look("client", ["192.0.2.1"], 10) == []
    await OWNER.cancel()


async def test_a_zone_that_works_again_is_used_again() -> None:
    names = Zonefile({("1.2.0.192.z.test", "A"): ["127.0.0.2"]})
    one = zone("z.test")
    lists = Lists([one], names.lookups, 1.0, OWNER)
    await lists.health.look(one)
    names.records["2.0.0.127.z.test", "A"] = ["127.0.0.2"]
    with capture_logs() as log:
        await lists.health.look(one)
    assert [each["event"] for each in log] == ["dnsbl_zone_on"]
    assert len(await lists.look("client", ["192.0.2.1"], 10)) == 1
    await OWNER.cancel()


async def test_an_error_answer_is_told_once_an_hour() -> None:
    names = Zonefile({**working(BAD), **{(f"{n}.2.0.192.bad.test", "A"): ["127.255.255.254"] for n in (1, 2, 3)}})
    lists = Lists([zone()], names.lookups, 1.0, OWNER)
    with capture_logs() as log:
        for last in (1, 2, 3):
            assert await lists.look("client", [f"192.0.2.{last}"], 10) == []
    assert [(each["event"], each["reason"]) for each in log] == [("dnsbl_zone_error", "127.255.255.254")]
    await OWNER.cancel()


async def test_of_a_large_message_only_the_beginning_is_read() -> None:
    records = {("evil.test.bad.test", "A"): ["127.0.0.2"], ("late.test.bad.test", "A"): ["127.0.0.2"]}
    body = b"http://evil.test/\r\n" + (b"x" * 76 + b"\r\n") * 40_000 + b"http://late.test/\r\n"
    session = has_message(stranger(TO_BOB), b"Subject: x\r\n\r\n" + body)
    stage = Stage(records, zone(checks=("url",), test=False))
    assert "evil.test" in await stage.reply(session, Phase.DATA)
    assert ("late.test.bad.test", "A") not in stage.names.asked


@pytest.mark.parametrize("most", [1, 10, 40, 60, 10_000, 200_000])
async def test_the_beginning_of_a_message_is_what_it_begins_with(most: int) -> None:
    content = b"Subject: x\r\n\r\n.dot\r\n..two\r\n" + b"line\r\n" * 20_000
    session = has_message(stranger(TO_BOB), content)
    message = session.transaction.message
    assert message is not None
    assert await message.beginning(most) == (await message.raw())[:most] == content[:most]
    message.close()


async def test_zones_are_looked_at_when_the_server_starts_and_every_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    again = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) < 2:
            return
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(health, "asyncio", SimpleNamespace(sleep=sleep, timeout=asyncio.timeout, Event=asyncio.Event))
    async with ScriptedNameserver(["2.0.0.127.bl.test A 127.0.0.2"]) as names:
        (tmp_path / "r.conf").write_text(
            f'{CORE}Nameservers = ( "{names.address}" )\ndnsbl {{ zones = ( bl.test ) }}\n'
        )
        worker = load_service(tmp_path / "r.conf")
        await worker.start()
        try:
            async with asyncio.timeout(10):
                await again.wait()
        finally:
            await worker.stop(now=True)
    assert slept == [3600.0, 3600.0]
    assert {"2.0.0.127.bl.test A", "1.0.0.127.bl.test A"} <= {each.split(" over")[0] for each in names.asked}


async def test_explain_asks_no_zone_and_says_what_is_not_known() -> None:
    stage = Stage(LISTED)
    stranger_at_rcpt = await stage.validator.explain(Phase.RCPTTO, stranger(TO_BOB), {})
    assert stranger_at_rcpt.unknown == ("what bad.test list",)
    exempt = await stage.validator.explain(Phase.RCPTTO, stranger("postmaster@example.com"), {})
    assert (exempt.says, exempt.unknown) == ("the recipient is exempt", ())
    assert (await stage.validator.explain(Phase.CONNECT, stranger(TO_BOB), {})).says == "begins to ask the zones"
    trusted = stranger(TO_BOB)
    trusted.can_relay = True
    assert not (await stage.validator.explain(Phase.RCPTTO, trusted, {})).unknown
    assert stage.names.asked == []
