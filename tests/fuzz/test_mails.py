"""Any mail can be taken apart, edited and put together, and what was not edited is unchanged."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import tracemalloc

from proxy.mail.address import BadParameter, BadPath, parse_argument
from proxy.mail.folding import folded
from proxy.mail.header_section import HeaderSection
from proxy.mail.message import Message
from proxy.mail.stuffing import StuffedBody, stuffed, unstuffed
from sieve.message import file_names, mime
from sieve.message.addresses import AddressPart, address_in, is_plausible, mailboxes, part_of
from sieve.message.disclaimer import with_text
from sieve.message.encoded_words import decoded_words, encoded_words, is_plain, joined_words
from sieve.message.parameters import parameters
from sieve.message.spelling import canonical, canonical_in_field, in_a_labels
from tests.fuzz.fuzzing import cut, fuzz, joined, mutated
from tests.fuzz.mails import NAMES, PIECES, VALUES, message

MOST_MEMORY = 64
"""Octets that may be held at once for each octet of a message, besides 4 MiB: a character may take four."""


# ---------------------------------------------------------------- MIME


def judge_structure(chance: random.Random) -> None:
    raw = message(chance)
    found = mime.structure(raw)
    parts = found.every_part()
    assert len(found.parts) <= mime.MOST_PARTS + 1
    assert len(found.others) <= 2 * mime.MOST_PARTS + 1
    assert parts[0].start == 0
    for part in parts:
        judge_part(found, part)
    leaves = list(found.leaves())
    assert all(one.end <= other.start for one, other in itertools.pairwise(leaves))
    texts = found.read(parts, found.texts)
    assert sum(map(len, texts)) <= len(raw) * (len(found.parts) + mime.MOST_READ) + len(parts)
    assert with_text(found, "", "").body == found.body
    plain, html = (
        joined(chance, ("bye", "é", "不", "\n", "-- ", "\r\n", "--b", "."), 6),
        chance.choice(("", "<p>é</p>")),
    )
    added = with_text(found, plain, html)
    assert len(added.body) <= 8 * len(raw) + 8 * len(leaves) * (400 + len(plain))
    assert all("\n" not in value for _, value in added.fields)


def judge_part(found: mime.Structure, part: mime.Part) -> None:
    size = part.end - part.body
    assert 0 <= part.start <= part.body <= part.end <= len(part.source)
    assert len(found.decoded(part)) <= size
    assert all(len(each) <= size for each in found.contents(part))
    assert len(found.text(part)) <= size + 1
    assert all(isinstance(name, str) for name in part.file_names)
    assert all(each == each.lower() for each in (*part.content_types, part.encoding))


def judge_memory(chance: random.Random) -> None:
    raw = mutated(chance, message(chance), (message(chance), *PIECES)) * chance.choice((1, 1, 10, 100))
    tracemalloc.start()
    try:
        judge_one_reading(raw)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY * len(raw) + (4 << 20)
    finally:
        tracemalloc.stop()


def judge_one_reading(raw: bytes) -> None:
    found = mime.structure(raw)
    found.read(found.every_part(), found.texts)
    with_text(found, "bye", "<p>bye</p>")


def test_any_message_has_parts_that_can_be_read_and_added_to() -> None:
    fuzz(judge_structure, cases=400, share=0.35)


def test_taking_any_message_apart_needs_memory_in_proportion() -> None:
    mime.structure(b"Content-Type: text/plain; charset=big5\r\n\r\n")
    fuzz(judge_memory, cases=30, share=0.1)


# ---------------------------------------------------------------- header text


def judge_text(chance: random.Random) -> None:
    value = joined(chance, VALUES, 8)
    if chance.random() < 0.7:
        value = mutated(
            chance, value, ("<", ">", '"', "(", ")", ",", ":", ";", "@", ".", "\\", "\r\n", "=?", "?=", "\udc80", "[")
        )
    for name, address in mailboxes(value):
        assert isinstance(name, str)
        canonical_in_field(address)
        for each in AddressPart:
            part_of(address, each)
    found = address_in(value)
    assert found is None or is_plausible(found)
    once = canonical(value)
    assert canonical(once) == once
    in_a_labels(value)
    found_parameters = parameters(value)
    assert all(isinstance(each, str) for name in ("filename", "charset", "b") for each in found_parameters.all(name))
    file_names.readings(found_parameters.all("filename"), "utf-8")
    joined_words(value)
    plain = decoded_words(value).encode("utf-8", "replace").decode()
    assert decoded_words(encoded_words(plain)) == plain
    assert is_plain(encoded_words(plain)) or "=?" in encoded_words(plain) or not plain


PATHS = (
    *(
        b"<",
        b">",
        b"@",
        b".",
        b'"',
        b"\\",
        b" ",
        b"\t",
        b"a",
        b"b.test",
        b"[192.0.2.1]",
        "ü".encode(),
        b"\xff",
        b"=",
        b",:",
    ),
    *(b"SIZE=1", b"ORCPT=rfc822;a+", b"AUTH=<>", b"xn--", b"-", b"[IPv6:::1]", b"postmaster", b"%", b"\xe2\x80\xae"),
)


def judge_argument(chance: random.Random) -> None:
    rest = b"<a@b.test> " if chance.random() < 0.5 else b""
    argument = b"TO:" + mutated(chance, rest + joined(chance, PATHS, 12), PATHS)
    domain, strict = chance.choice(("", "d.test")), chance.random() < 0.3
    with contextlib.suppress(BadPath, BadParameter):
        path, parameters = parse_argument(argument, b"TO:", default_domain=domain, strict=strict)
        assert all(name == name.upper() for name in parameters)
        assert not set(path.raw) & {0, 10, 13}
        if path.raw and path.domain:
            again, _ = parse_argument(b"TO:<%b>" % path.raw, b"TO:", strict=True)
            assert (again.raw, again.text) == (path.raw, path.text)
            assert canonical(path.text) == path.text


def test_any_header_text_gives_addresses_parameters_and_words() -> None:
    fuzz(judge_text, cases=600, share=0.2)


def test_any_argument_is_a_path_or_none_and_what_goes_upstream_is_strict() -> None:
    fuzz(judge_argument, cases=1500, share=0.1)


# ---------------------------------------------------------------- the header section


def section(pieces: list[bytes]) -> tuple[bytes, bytes]:
    """Return header section and rest, as a reception does: only what has come before the end is known is fed."""
    found = HeaderSection()
    for at, each in enumerate(pieces):
        found.feed(each)
        if found.ended:
            head, rest = found.part()
            return head, rest + b"".join(pieces[at + 1 :])
    return found.part()


def judge_edits(chance: random.Random) -> None:
    wire = stuffed(message(chance))
    if not wire.endswith(b"\r\n"):
        wire += b"\r\n"
    head, rest = section([wire])
    assert section(cut(chance, wire)) == (head, rest)
    content = StuffedBody(None)
    content.write(rest)
    with contextlib.closing(Message(unstuffed(head), content)) as read:
        judge_message(chance, read, unstuffed(head), rest)


def judge_message(chance: random.Random, read: Message, head: bytes, rest: bytes) -> None:
    before = [(each, each.raw) for each in read._parsed()]
    assert read.head_bytes() == head
    edited: set[str] = set()
    for _ in range(chance.randrange(4)):
        edited |= edit(chance, read)
    kept = [(each, raw) for each, raw in before if each.name.lower() not in edited]
    assert all(each.raw == raw for each, raw in kept)
    assert [each for each, _ in kept] == [each for each in read._parsed() if any(each is one for one, _ in kept)]
    assert all(each.raw.endswith(b"\r\n") for each in read._parsed())
    judge_size(read, rest)


def edit(chance: random.Random, read: Message) -> set[str]:
    """Edit a field, and return its name if fields of that name are no longer as they came."""
    name = chance.choice((*NAMES, *(name for name, _ in read.fields())))
    value = joined(chance, tuple(each.replace("\r\n", " ") for each in VALUES), 6)
    kind = chance.randrange(4)
    if kind == 0:
        read.add_header(name, value)
        return set()
    if kind == 1:
        read.delete_header(name)
        assert read.header(name) == []
    elif kind == 2:
        read.change_header(name, 0, value)
    else:
        read.replace_body(mutated(chance, b"a\r\nb", PIECES))
        return set()
    return {name.lower()}


def judge_size(read: Message, content: bytes) -> None:
    raw = asyncio.run(read.raw())
    empty_line = read.new_body is not None or content.startswith(b"\r\n")
    assert len(raw) == read.size + (0 if empty_line else 2)  # then the empty line is ours, for whoever reads
    assert read.stuffed_lines == raw.count(b"\r\n.") + raw.startswith(b".")


def judge_folding(chance: random.Random) -> None:
    body = joined(chance, ("word", " ", "\t", "  ", "x" * 80, "y" * 950, "z" * 1100, "é"), 40).encode()
    line = b"X-A: " + body
    lines = folded(line, chance.choice((78, 900))).split(b"\r\n")
    assert b"".join(lines).rstrip(b" \t") == line.rstrip(b" \t")
    assert all(each[:1] in b" \t" and each.strip() for each in lines[1:])
    words = max(map(len, line.split()))
    assert all(len(each) <= 998 for each in lines) or words > 990


def test_any_header_section_keeps_what_nobody_edits() -> None:
    fuzz(judge_edits, cases=400, share=0.2)


def test_any_field_that_is_folded_is_the_same_field() -> None:
    fuzz(judge_folding, cases=800, share=0.05)
