"""Whatever an exchanger, an MTA or a name server answers: it is read, or the conversation ends; nothing is raised."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import random
import socket
from pathlib import Path as File

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
import pytest

from proxy.callback.classify import REASONS, Classifier, Words, alike
from proxy.callback.echo import Said
from proxy.callback.families import families_about, mailbox_of
from proxy.callback.hearing import same_mailbox
from proxy.callback.verdict import Status
from proxy.dns.answers import MOST_RECORDS, Malformed, ResponseReader, name_of, text_of
from proxy.dns.resolver import NoSuchDomain, _query_name
from proxy.dns.stub import judge
from proxy.mail import replies
from proxy.mail.address import BadPath, path_of
from proxy.mail.replies import LONGEST_TEXT, Reply
from proxy.mail.session import Path
from proxy.outgoing.handshake import Dial, GreetingRefused, dial
from proxy.outgoing.wire import Garbled, ReplyParser, Wire, WireBroken, extensions_of
from proxy.upstream.client_words import Standing
from proxy.upstream.verdicts import Asked, is_about_mail
from tests.fuzz.fuzzing import cut, fuzz, joined, mutated, octets, some

_TABLES = File(__file__).parents[1] / "spec"
with (_TABLES / "callback" / "refusals.tsv").open(encoding="utf-8") as file:
    TEXTS = tuple(row["reply"][4:] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

CODES = (200, 220, 250, 251, 299, 334, 354, 399, 421, 450, 451, 452, 499, 500, *range(501, 505), 521, 530, 535, 550,
         551, 552, 553, 554, 555, 571, 599)  # fmt: skip
ADDRESSES = (
    "bob@example.com", "user@example.com", '"x spamhaus"@victim.example', '"a@b"@c.test', '"\\""@d.test',
    "ü@münchen.test",
    "b@xn--mnchen-3ya.test", "prvs=123456789a=bob@example.com", "SRS0=abcd=xy=example.org=bob@example.com", "''@a.test",
    "SRS1=x=example.net==abcd=xy=example.org=bob@example.com", "bob+tag@example.com", "x@[192.0.2.1]", "@", "a@", "",
    "x@[IPv6:2001:db8::1]", "-@-", "a.b-c_d@e.test", "%s@{}.test", "\udcff@x.test", "i\u0307@x.test", "ẞ@ß.test",
    "*@(.test", "a" * 64 + "@" + "b" * 63 + ".test", "postmaster", "user=40x@y.test", "not@known.test", "0@1.2.3.4",
)  # fmt: skip
WORDS = (
    *("User unknown", "Client host rejected", "spamhaus", "greylisted", "try again", "quota", "relay", "is not"),
    "HELO",
    *("5.1.1", "4.7.1", "5.7.25", "5.999.999", "5.0.0", "x.1.0", "2.0.0", "SMTPUTF8", "https://x.test/?a=", "www."),
    "@",
    *("[10.0.0.2]", "10.0.0.2", "[IPv6:2001:db8::1]", "::ffff:10.0.0.2", "2.0.0.10.zen.example", "mx.ringback.test"),
    *("<", ">", '"', "'", "\\", "\\040", "%40", "=40", "&#64;", "&commat;", "&amp", " (at) ", "...", ":", "()", "\t"),
    "\0",
    *("é", "\xa0", "不明な", "пользователь", "\x1b[2J", "\udc80", "\u2028", "\u202e", "x" * 600, " " * 300, "a@" * 200),
)  # fmt: skip


def text_of_reply(chance: random.Random) -> str:
    text = chance.choice(TEXTS) if chance.random() < 0.6 else joined(chance, WORDS, 12)
    return mutated(chance, text, (*WORDS, *ADDRESSES)) if chance.random() < 0.8 else text


def said_by_us(chance: random.Random) -> Said:
    address = chance.choice(ADDRESSES)
    if chance.random() < 0.3:
        address = mutated(chance, address, (*WORDS, *ADDRESSES))
    return Said(address, chance.choice(("", "mx.ringback.test", "[192.0.2.1]")), (chance.choice(ADDRESSES),))


def reply(chance: random.Random, said: Said) -> Reply:
    lines = []
    for _ in range(1 + len(some(chance, 4))):
        text = text_of_reply(chance).replace("\n", " ")
        if chance.random() < 0.5:
            text = mutated(chance, text, (said.address, said.address.upper(), said.address[:20], said.helo))
        lines.append(text.encode(chance.choice(("utf-8", "latin-1", "utf-16")), "replace") + octets(chance, 3))
    return Reply(chance.choice(CODES), tuple(lines))


# ---------------------------------------------------------------- what replies mean


OWN = Words("no_such_user nobody\npolicy blocked\nrate slow\nblocked listed\nnull_sender bounce\nmailbox_full full\n")
CLASSIFIERS = (Classifier(), Classifier(OWN))


def judge_meaning(chance: random.Random) -> None:
    classifier, said = chance.choice(CLASSIFIERS), said_by_us(chance)
    answer = reply(chance, said)
    status, reason = classifier.recipient(answer, chance.choice((said, said.address)))
    assert (status is Status.PASS) == answer.accepted
    assert answer.permanent or status is not Status.FAIL
    assert reason in REASONS or reason in {"accepted", "busy", "protocol"}
    assert classifier.sender(answer)[0] in {Status.ERROR, Status.TRANSIENT}
    assert classifier.greeting(answer.code, answer.text)[0] in {Status.ERROR, Status.TRANSIENT}
    assert answer.permanent or not classifier.is_about_null_sender(answer, said)
    classifier.is_block(answer.text, said)
    alike(answer, said.address, reply(chance, said), chance.choice(ADDRESSES))
    mailbox_of(said.address.rpartition("@")[0])
    families_about(said.address.rpartition("@")[0])
    assert same_mailbox(said.address, said.address)
    for line in replies.from_policy(answer.code, answer.text).lines:
        assert len(line) <= LONGEST_TEXT
        assert all(32 <= octet < 127 for octet in line)


def test_any_reply_means_something() -> None:
    fuzz(judge_meaning, cases=150, share=0.4)


def path(chance: random.Random) -> Path:
    address = chance.choice(ADDRESSES)
    with contextlib.suppress(BadPath):
        found = path_of(address)
        given = b"FROM:<%b>%b" % (found.raw, chance.choice((b"", b" SIZE=1", b" BODY=8BITMIME")))
        return Path(found.raw, found.local_part, found.domain, given=chance.choice((b"", given)))
    return Path(b"a@b.test", "a", "b.test")


def judge_blame(chance: random.Random) -> None:
    standing = Standing(
        chance.choice(("", "10.0.0.2", "2001:db8::1", "fe80::1%lo", "/run/x")),
        chance.choice(("", "mx.ringback.test", "localhost", "[10.0.0.2]", "(", "mx.ringback.test.")),
        chance.choice(("", "mx.ringback.test", "mta.test")),
        announced=chance.random() < 0.3,
    )
    paths = tuple(path(chance) for _ in range(chance.randrange(1, 4)))
    command = chance.choice((b"", b"MAIL FROM:<%b> SIZE=1\r\n" % paths[0].raw))
    asked = Asked(standing, paths, command, chance.choice(("203.0.113.9", "2001:db8::9", "")))
    answer = reply(chance, said_by_us(chance))
    about_mail = is_about_mail(answer, asked)
    if answer.code < 400 or answer.code in {421, 500, 502, 503} or 530 <= answer.code <= 538:
        assert not about_mail
    elif answer.code < 500:
        assert about_mail


def test_any_refusal_is_about_the_mail_or_about_us() -> None:
    fuzz(judge_blame, cases=600, share=0.2)


# ---------------------------------------------------------------- the wire


PIECES = (
    b"250 ok\r\n", b"250-a\r\n", b"250-SIZE 1\r\n", b"550 5.1.1 no\r\n", b"354\r\n", b"421 x\r\n", b"250-\r\n",
    b"220 hi\r\n",
    b"250", b"-", b" ", b"\r", b"\n", b"\r\n", b"\0", b"x" * 2100, b"199 a\r\n", b"600 a\r\n", b"250 \xff\r\n",
    b"HTTP/1.1 ",
    b"250-STARTTLS\r\n", b"250-AUTH PLAIN\r\n", b"250-AUTH=\r\n", b"250-auth \xff\r\n", b"220 mx.test ESMTP\r\n",
    b"250-mx\r\n" * 101,
)  # fmt: skip


def stream(chance: random.Random) -> bytes:
    found = joined(chance, PIECES, 12)
    return mutated(chance, found, PIECES) if chance.random() < 0.5 else found


def heard(pieces: list[bytes]) -> tuple[list[Reply], bool]:
    parser, found = ReplyParser(), []
    try:
        for each in pieces:
            for answer in parser.feed(each):
                found.append(answer)  # noqa: PERF402 - those before a fault count
    except Garbled:
        return found, True
    return found, False


class Nowhere(asyncio.Transport):
    """A transport whose other end is the fuzzer."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        del data

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return True


async def paired(pieces: list[bytes], asked: int) -> tuple[list[Reply], bool]:
    """Return the answers of a wire that asked so often, and whether the peer broke the grammar."""
    wire = Wire(Nowhere(), {})
    answers = wire.send(b"NOOP\r\n", asked)
    for each in pieces:
        if wire.broken is None:  # the transport reads no further
            wire.data_received(each)
    wire.eof_received()
    wire.connection_lost(None)
    if answers.missing:
        with pytest.raises(WireBroken):
            await wire.read(answers, 1, closing_is_a_reply=True)
    return answers.replies, wire.garbled


async def greeted(said: bytes, pieces: list[bytes]) -> None:
    """Dial a peer that says this, whatever it is asked, and closes."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        theirs.setblocking(False)
        spoken = asyncio.ensure_future(_spoken(theirs, [said, *pieces]))  # noqa: TID251 - awaited below
        try:
            wire = await dial(Dial("192.0.2.1", 25, "mx.ringback.test", 5, 5), ours)
        except (GreetingRefused, WireBroken):
            pass
        else:
            wire.abort("done")
        finally:
            await spoken


async def _spoken(peer: socket.socket, pieces: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        for each in pieces:
            await loop.sock_sendall(peer, each)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        peer.shutdown(socket.SHUT_WR)


def test_any_octets_are_replies_or_end_the_conversation() -> None:
    with asyncio.Runner() as runner:

        def judge_octets(chance: random.Random) -> None:
            sent = stream(chance)
            found, garbled = heard([sent])
            assert heard(cut(chance, sent)) == (found, garbled), sent
            for each in found:
                extensions_of(each)
            asked = chance.randrange(4)
            answers, broken = runner.run(paired(cut(chance, sent), asked))
            assert answers == found[:asked]
            assert broken == (garbled or len(found) > asked)
            if chance.random() < 0.1:
                runner.run(greeted(b"220 mx.test ESMTP\r\n" if chance.random() < 0.7 else b"", cut(chance, sent)))

        fuzz(judge_octets, cases=300, share=0.2)


# ---------------------------------------------------------------- DNS


RECORDS = (
    "a.test. 60 IN MX 10 mx.test.", "a.test. 60 IN MX 0 .", "mx.test. 60 IN A 192.0.2.1", "a.test. 60 IN CNAME b.test.",
    "b.test. 60 IN CNAME a.test.", "b.test. 60 IN MX 10 MX.b.test.", "a.test. 60 IN AAAA 2001:db8::1",
    "a.test. 60 IN NS ns.test.",
    "test. 60 IN SOA ns.test. root.test. 1 2 3 4 5", 'a.test. 60 IN TXT "v=spf1" " -all"',
    "a.test. 60 IN PTR x\\.y.\\255.test.",
    "a.test. 60 IN DNAME b.test.", "a.test. 60 CH TXT x",
)  # fmt: skip
KINDS = ("MX", "A", "AAAA", "TXT", "PTR", "NS", "CNAME")
BITS = (b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x00", b"\x3f", b"\x40", b"\x01a" * 130, b"\x00\x0f", b"\xc0")


def response(chance: random.Random) -> bytes:
    flags = chance.choice(("QR AA", "QR RA", "QR RA TC", "QR", ""))
    rcode = chance.choice(("NOERROR", "NOERROR", "NXDOMAIN", "SERVFAIL", "BADVERS"))
    lines = ["id 1", "opcode QUERY", f"rcode {rcode}", f"flags {flags}", "edns 0", ";QUESTION", "a.test. IN MX"]
    for section in ("ANSWER", "AUTHORITY", "ADDITIONAL"):
        lines += [f";{section}", *(chance.choice(RECORDS) for _ in some(chance, 5))]
    wire = dns.message.from_text("\n".join(lines) + "\n").to_wire()
    return mutated(chance, wire, BITS) if chance.random() < 0.9 else wire


def judge_response(chance: random.Random) -> None:
    wire = response(chance) if chance.random() < 0.9 else octets(chance, 200)
    with contextlib.suppress(Malformed):
        reader = ResponseReader(wire)
        kind = int(dns.rdatatype.from_text(chance.choice(KINDS)))
        answer = judge(reader, name_of(dns.name.from_text(chance.choice(("a.test", "A.test", "b.test")))), kind)
        assert len(answer.records) <= MOST_RECORDS
        assert not (answer.records and answer.unclear)
        for each in (*reader.response.answer, *reader.response.authority, *reader.response.additional):
            assert 12 <= each.start <= each.end <= len(wire)
            reader.values([each])
            assert text_of(each.owner).isascii()
    with contextlib.suppress(NoSuchDomain):
        name = chance.choice(ADDRESSES).rpartition("@")[2]
        assert _query_name(mutated(chance, name, WORDS)).is_absolute()


def test_any_response_is_an_answer_or_malformed() -> None:
    fuzz(judge_response, cases=400, share=0.2)
