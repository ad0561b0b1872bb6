"""The sessions of `bench.same`: what a client says, drawn from a seed.

A session is a list of groups; a group is sent together, and its replies are awaited before the next. Drawn are the
commands, right and wrong, the size of messages (many around 64 KiB), chunks, AUTH, STARTTLS, PRDR, where the octets are
cut, how the next hop misbehaves, and whether the client goes away in the middle.
"""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass

from bench.nexthop import STEPS, Fault, events

EVENTS = events()
PASSWORD = "secret"
SIZES = (0, 1, 100, 4096, 16384, 65535, 65536, 65537, 70000, 131072)
NEAR = 70
"""Octets around a size."""

SENDERS = (
    b"MAIL FROM:<u@d1.test>",
    b"MAIL FROM:<u@d2.test>",
    b"MAIL FROM:<>",
    b"MAIL FROM:<x@d1.test>",  # its exchanger does not know it
    b"mail from: <u@d1.test>",
    b"MAIL FROM:<u@d1.test> SIZE=100",
    b"MAIL FROM:<u@d1.test> BODY=8BITMIME",
    b"MAIL FROM:<u@d1.test> BODY=BINARYMIME",
    b"MAIL FROM:<u@d1.test> RET=HDRS ENVID=abc+2B",
    b"MAIL FROM:<u@d1.test> PRDR",
    b"MAIL FROM:<u@d1.test> SMTPUTF8",
    b"MAIL FROM:<u@d1.test> SIZE=99999999999",
    b"MAIL FROM:<u@d1.test> UNKNOWN=1",
    b"MAIL FROM:<\xc3\xbc@d1.test>",
    b"MAIL FROM:<u@d1.test",
    b"MAIL FROM:u@d1.test",
    b"MAIL FROM:<@a,@b:u@d1.test>",
    b'MAIL FROM:<"a b"@d1.test>',
    b"MAIL",
)
RECIPIENTS = (
    b"RCPT TO:<bob@example.com>",
    b"RCPT TO:<carol@example.com>",
    b"RCPT TO:<dave@example.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;dave@example.com",
    b"RCPT TO:<unknown@example.com>",
    b"RCPT TO:<u@elsewhere.invalid>",
    b"rcpt to: <bob@EXAMPLE.com>",
    b"RCPT TO:<Postmaster>",
    b"RCPT TO:<bob@example.com> NOTIFY=NEVER,DELAY",
    b"RCPT TO:<bob@example.com",
    b"RCPT TO:<\xc3\xbc@example.com>",
    b"RCPT",
)
OTHERS = (
    b"NOOP",
    b"RSET",
    b"VRFY bob",
    b"EXPN staff",
    b"HELP",
    b"HELO client.test",
    b"EHLO client.test",
    b"DATA",
    b"AUTH PLAIN",
    b"XCLIENT NAME=a ADDR=192.0.2.1",
    b"UNKNOWN command",
    b"",
    b"NOOP " + b"x" * 2000,
    b"NO\x00OP",
    b"MAIL FROM:<u@d1.test>",
    b"RCPT TO:<bob@example.com>",
    b"BDAT 5\r\nhello",
    b"BDAT 0 LAST",
    b"BDAT x",
)
SUBJECTS = (b"hello", b"hello", b"hello", b"refuse this", b"discard this")


@dataclass(frozen=True, slots=True)
class Group:
    """What is sent together."""

    octets: bytes
    replies: int
    """How many replies it has, as a rule."""
    kind: str = "commands"
    """`content` is sent only after a 354; `tls` begins TLS after a 220; `gone` closes the connection."""
    cuts: tuple[int, ...] = ()
    """Where the octets are cut; each piece is given time to arrive alone."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One session: its client, what it says, and how the next hop misbehaves."""

    seed: int
    groups: tuple[Group, ...]
    fault: Fault | None


def scene(seed: int) -> Scene:
    """Return the session of a seed."""
    drawn = random.Random(seed)
    groups = _greeting(drawn)
    for _ in range(drawn.choice((1, 1, 2, 3))):
        groups += _transaction(drawn)
        if drawn.random() < 0.1:
            groups.append(Group(drawn.choice(OTHERS) + b"\r\n", 1))
    if drawn.random() < 0.05:
        at = drawn.randrange(1, len(groups))
        whole = groups[at].octets
        groups = [*groups[:at], Group(whole[: drawn.randrange(len(whole) + 1)], 0, "gone")]
    else:
        groups.append(Group(b"QUIT\r\n", 1))
    fault = None
    if drawn.random() < 0.35:
        fault = Fault(drawn.choice(STEPS), drawn.choice(EVENTS), drawn.choice((1, 1, 2)))
    return Scene(seed, tuple(_cut(drawn, each) for each in groups), fault)


def _greeting(drawn: random.Random) -> list[Group]:
    hello = drawn.choice(
        (b"EHLO client.test\r\n",) * 8 + (b"HELO client.test\r\n", b"EHLO\r\n", b"ehlo [127.0.0.1]\r\n")
    )
    groups = [Group(hello, 1)]
    if drawn.random() < 0.12:
        groups += [Group(b"STARTTLS\r\n", 1, "tls"), Group(b"EHLO client.test\r\n", 1)]
    if drawn.random() < 0.08:
        word = PASSWORD if drawn.random() < 0.7 else "wrong"
        plain = base64.b64encode(f"\0user\0{word}".encode())
        name, secret = base64.b64encode(b"user"), base64.b64encode(word.encode())
        groups += drawn.choice((
            [Group(b"AUTH PLAIN " + plain + b"\r\n", 1)],
            [Group(b"AUTH PLAIN\r\n", 1), Group(plain + b"\r\n", 1)],
            [Group(b"AUTH LOGIN\r\n", 1), Group(name + b"\r\n", 1), Group(secret + b"\r\n", 1)],
            [Group(b"AUTH PLAIN\r\n", 1), Group(b"*\r\n", 1)],
        ))  # fmt: skip
    return groups


def _transaction(drawn: random.Random) -> list[Group]:
    sender = drawn.choice(SENDERS if drawn.random() < 0.5 else SENDERS[:3])
    count = drawn.choice((1, 1, 1, 2, 3, 5))
    lines = [sender, *(drawn.choice(RECIPIENTS if drawn.random() < 0.5 else RECIPIENTS[:2]) for _ in range(count))]
    if drawn.random() < 0.08:
        lines.insert(drawn.randrange(len(lines)), drawn.choice(OTHERS[:13]))
    if drawn.random() < 0.05:
        lines.append(b"RSET")
    content = _message(drawn)
    if drawn.random() < 0.15:
        return [*_sent(drawn, lines), *_chunked(drawn, content)]
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return [*_sent(drawn, [*lines, b"DATA"]), Group(stuffed + b".\r\n", 1, "content")]


def _sent(drawn: random.Random, lines: list[bytes]) -> list[Group]:
    """Return the lines one by one, or together."""
    is_in_order = not any(line in OTHERS[:13] for line in lines[:-1])
    if drawn.random() < 0.5 or (not is_in_order and drawn.random() < 0.9):
        return [Group(line + b"\r\n", 1) for line in lines]
    return [Group(b"".join(line + b"\r\n" for line in lines), len(lines))]


def _chunked(drawn: random.Random, content: bytes) -> list[Group]:
    at = sorted(drawn.randrange(len(content) + 1) for _ in range(drawn.choice((0, 1, 2))))
    pieces = [content[a:b] for a, b in zip((0, *at), (*at, len(content)), strict=True)]
    chunks = [b"BDAT %d\r\n%b" % (len(piece), piece) for piece in pieces[:-1]]
    chunks.append(b"BDAT %d LAST\r\n%b" % (len(pieces[-1]), pieces[-1]))
    if drawn.random() < 0.5:
        return [Group(b"".join(chunks), len(chunks))]
    return [Group(each, 1) for each in chunks]


def _message(drawn: random.Random) -> bytes:
    size = max(0, drawn.choice(SIZES) + drawn.randint(-NEAR, NEAR))
    head = b"Subject: %b\r\nFrom: <u@d1.test>\r\n\r\n" % drawn.choice(SUBJECTS)
    if drawn.random() < 0.1:
        head = drawn.choice((b"", b"\r\n", b"no header\r\n", b"Subject: " + b"long " * 2000 + b"\r\n\r\n"))
    lines = [head]
    left = size - len(head)
    while left > 0:
        line = drawn.choice((b"x" * 62, b".", b"..", b"", b"a line of text", b"\xc3\xbc", b"y" * 900, b"."))
        lines.append(line + b"\r\n")
        left -= len(line) + 2
    if drawn.random() < 0.04:
        lines.append(drawn.choice((b"bare\nline\r\n", b"bare\rreturn\r\n", b"nul\x00\r\n", b"z" * 3000 + b"\r\n")))
    return b"".join(lines)


def _cut(drawn: random.Random, group: Group) -> Group:
    """Cut it at some places: at every octet if it is short, near its end (the dot) more often than elsewhere."""
    length = len(group.octets)
    if length < 2 or group.kind == "gone" or drawn.random() < 0.4:
        return group
    if length < 60 and drawn.random() < 0.1:
        cuts = list(range(1, length))
    else:
        cuts = [drawn.randrange(1, length) for _ in range(drawn.choice((1, 1, 2, 4)))]
        cuts += [max(1, length - drawn.randint(1, 6)) for _ in range(drawn.choice((0, 1, 2)))]
    return Group(group.octets, group.replies, group.kind, tuple(sorted(set(cuts))))
