"""The books of mail that is sent through what may die: what each client heard, and what the upstreams have.

A client behaves as an MTA: a letter that was not confirmed is sent again, each time as an attempt with a mark of its
own, so that every copy upstream is known for the attempt that made it. `Books.compare` holds both against each other.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.support.conversation import Conversation, stuffed
from tests.support.recorder import Record

PATIENCE = 60.0
"""Seconds that a client waits for a reply; reached only by a defect."""

NO_VERDICT = "451 4.4.2 "
"""How Ringback begins its answer where the upstream's never came: the message may or may not be there."""

QUEUE_FILE_ERROR = "451 4.3.0 Error: queue file write error"
"""What Postfix says where its cleanup died: the message may or may not be in its queue."""

LINES = (
    b"\r\n", b".\r\n", b"..\r\n", b".dot\r\n", b"trailing blanks  \t\r\n", b"From here\r\n",
    b"\xe4\xf6\xfc \x80\xff\r\n", b"0123456789 " * 6 + b"filler\r\n", b"long " * 190 + b"\r\n",
    b"Received: not a field\r\n",
)  # fmt: skip
"""What a careless relay changes."""

_OURS = re.compile(
    rb"Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n"
    rb"\tby ringback\.test \(Ringback\) with ESMTP id [^\s;]+(?:\r\n\tfor <[^>\r]+>)?;\r\n\t[^\r\n]+\r\n"
)
_MARK = re.compile(rb"X-Mark: (\S+)\r\n")


class Outcome(Enum):
    """How far an attempt came, as its client saw it."""

    UNFINISHED = auto()
    """The client never sent its dot."""
    REFUSED = auto()
    """It heard that the message was not taken."""
    UNKNOWN = auto()
    """It sent its dot and never heard the upstream's verdict."""
    CONFIRMED = auto()
    """It heard 250."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt to hand a letter in."""

    mark: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes
    outcome: Outcome = Outcome.UNFINISHED
    heard: list[str] = field(default_factory=list)
    """The replies, from MAIL's on."""


@dataclass(slots=True, eq=False)
class Letter:
    """What a client wants to get rid of: its text, and its attempts so far."""

    name: str
    text: bytes
    recipients: int
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def is_confirmed(self) -> bool:
        """Whether an attempt heard 250."""
        return any(each.outcome is Outcome.CONFIRMED for each in self.attempts)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted."""

    letters: int
    attempts: int
    outcomes: Counter[Outcome]
    copies: int
    duplicates: int
    """Copies beyond the first of their letter."""


class Books:
    """All letters of a test."""

    def __init__(self) -> None:
        """Begin with none."""
        self.letters: list[Letter] = []

    def letter(self, chance: random.Random, *, lines: int) -> Letter:
        """Write a letter with a number of awkward lines."""
        text = b"\r\n" + b"".join(chance.choices(LINES, k=lines))
        made = Letter(str(len(self.letters)), text, chance.randint(1, 3))
        self.letters.append(made)
        return made

    @staticmethod
    def attempt(letter: Letter, *, place: str = "through") -> Attempt:
        """Begin an attempt; `place` begins the names of its recipients."""
        mark = f"{letter.name}.{len(letter.attempts)}"
        recipients = tuple(f"{place}.{number}.{mark}@example.com" for number in range(letter.recipients))
        made = Attempt(mark, f"{mark}@sender.test", recipients, f"X-Mark: {mark}\r\n".encode() + letter.text)
        letter.attempts.append(made)
        return made

    def compare(self, records: Iterable[Record]) -> Tally:
        """Hold the clients' books against the upstreams'.

        Raises:
            AssertionError: a message was lost, altered, doubled by one attempt, delivered although the client knows
                that it was not, or a letter never arrived.
        """
        attempts = {attempt.mark: attempt for letter in self.letters for attempt in letter.attempts}
        copies: Counter[str] = Counter()
        altered = []
        for record in records:
            mark = _mark(record)
            copies[mark] += 1
            if not _is_intact(record, attempts.get(mark)):
                altered.append(mark)
        known = {Outcome.UNFINISHED, Outcome.REFUSED}
        found: dict[str, Sequence[object]] = {
            "lost": [
                each.mark for each in attempts.values() if each.outcome is Outcome.CONFIRMED and not copies[each.mark]
            ],
            "altered": altered,
            "doubled by one attempt": [mark for mark, count in copies.items() if count > 1],
            "delivered and not confirmed": [
                (mark, attempts[mark].outcome, attempts[mark].heard)
                for mark in copies
                if mark in attempts and attempts[mark].outcome in known
            ],
            "never confirmed": [letter.name for letter in self.letters if not letter.is_confirmed],
        }
        assert not any(found.values()), {what: marks[:10] for what, marks in found.items() if marks}
        arrived = {mark.partition(".")[0] for mark in copies}
        return Tally(
            letters=len(self.letters),
            attempts=len(attempts),
            outcomes=Counter(each.outcome for each in attempts.values()),
            copies=copies.total(),
            duplicates=copies.total() - len(arrived),
        )


def _mark(record: Record) -> str:
    found = _MARK.search(record.content)
    return found[1].decode() if found else repr(record.content[:200])


def _is_intact(record: Record, attempt: Attempt | None) -> bool:
    """Tell whether a record is an attempt's message, byte for byte, under our Received field."""
    ours = _OURS.match(record.content)
    if ours is None or attempt is None:
        return False
    came = (record.sender, record.recipients, record.content[ours.end() :])
    return came == (attempt.sender, attempt.recipients, attempt.content)


# ---------------------------------------------------------------- the client


async def ask(client: Conversation, attempt: Attempt, *lines: str) -> str:
    """Send commands in one write, note their replies and return the last."""
    await client.send(*lines)
    for _ in lines:
        attempt.heard.append(await client.reply(within=PATIENCE))
    return attempt.heard[-1]


async def envelope(client: Conversation, attempt: Attempt) -> bool:
    """Send sender and recipients, pipelined; tell whether all were accepted."""
    await ask(client, attempt, f"MAIL FROM:<{attempt.sender}>", *(f"RCPT TO:<{each}>" for each in attempt.recipients))
    return all(reply.startswith("250 ") for reply in attempt.heard)


async def end(client: Conversation, attempt: Attempt, last: bytes) -> None:
    """Send the last of the content, up to the dot or the last chunk, and hear the verdict.

    Raises:
        ConnectionError: no reply came; the outcome is unknown.
    """
    attempt.outcome = Outcome.UNKNOWN
    await client.send_raw(last)
    attempt.heard.append(reply := await client.reply(within=PATIENCE))
    attempt.outcome = _outcome(reply)


def _outcome(reply: str) -> Outcome:
    if reply.startswith("250 "):
        return Outcome.CONFIRMED
    assert reply.startswith("4"), f"trouble is never a permanent refusal: {reply}"
    return Outcome.UNKNOWN if reply.startswith((NO_VERDICT, QUEUE_FILE_ERROR)) else Outcome.REFUSED


async def hand_in(client: Conversation, attempt: Attempt, *, in_chunks: bool = False) -> None:
    """Send a whole message in an open session, by DATA or in two chunks by BDAT.

    Raises:
        ConnectionError: the session ended before the reply.
    """
    if not await envelope(client, attempt):
        await ask(client, attempt, "RSET")
    elif in_chunks:
        half = len(attempt.content) // 2
        first, last = attempt.content[:half], attempt.content[half:]
        await client.send_raw(b"BDAT %d\r\n%b" % (len(first), first))
        attempt.heard.append(await client.reply(within=PATIENCE))
        if attempt.heard[-1].startswith("250 "):
            await end(client, attempt, b"BDAT %d LAST\r\n%b" % (len(last), last))
    elif (await ask(client, attempt, "DATA")).startswith("354 "):
        await end(client, attempt, stuffed(attempt.content) + b".\r\n")
