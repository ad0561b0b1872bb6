"""The fault table, read from its page, and how a cell of it is run: a worker in this process before a faulty server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Iterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from proxy.mail.session import Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.sieve_policy.effects import path_of
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Step
from tests.support.faulty import Event, Faulty, turns
from tests.support.rounds import WHOLE
from tests.support.skipping import SkippingLoop
from tests.support.waiting import eventually
from tests.support.worker import ALICE, BOB, DAVE, LETTER, Rule, WorkerStage, serving, settled

PAGE = Path(__file__).with_name("faults.txt")

HEARD = {
    "unreachable": "451 4.4.1 Next-hop server is unreachable, try again later",
    "lost": "451 4.4.2 Next-hop server did not answer, try again later",
    "refused-us": "451 4.3.5 Next-hop server rejected our session, try again later",
}
ALARMS = {"unreachable": "upstream_unreachable", "lost": "upstream_lost", "refused-us": "upstream_refused_us"}

BIG = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * 200
"""A message that Ringback does not wait for before it begins to send."""

MIDDLE = 30_000
"""Octets of it after which the upstream misbehaves in the middle."""

PATIENCE = 5
"""Seconds of each of Ringback's patiences where the upstream's silence is tried."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One event at one step, and what the client hears of it."""

    table: str
    event: Event
    step: str
    expected: str
    upstream_pipelines: bool = True
    client_pipelines: bool = True

    def __str__(self) -> str:
        """Name the cell."""
        upstream = "pipelining" if self.upstream_pipelines else "one-by-one"
        return f"{self.table}-{self.step}-{self.event.name}-{upstream}{'' if self.client_pipelines else '-slow-client'}"

    @property
    def word(self) -> str:
        """What is expected, less its doubt."""
        return self.expected.rstrip("?")

    @property
    def heard_at_rcpt(self) -> bool:
        """Whether the step is over before the client has its answer to RCPT."""
        return self.step not in {"data", "middle", "dot", "rset", "quit", "idle"}


STEPS = {
    "greeting": Step.BANNER,
    "ehlo": Step.EHLO,
    "lhlo": Step.EHLO,
    "ehlo-again": Step.EHLO,
    "starttls": Step.STARTTLS,
    "xclient": Step.XCLIENT,
    "mail": Step.MAIL,
    "rcpt": Step.RCPT,
    "data": Step.DATA,
    "middle": Step.CONTENT,
    "dot": Step.DOT,
    "rset": Step.RSET,
    "quit": Step.QUIT,
}
"""The columns; `connect` and `idle` are not replies of the upstream."""


# ---------------------------------------------------------------- the page


@lru_cache
def page() -> tuple[dict[str, Event], dict[str, list[tuple[str, str, str]]]]:
    """Return the events by name, and each table as (event, step, expected)."""
    events: dict[str, Event] = {}
    tables: dict[str, list[tuple[str, str, str]]] = {}
    for title, lines in _sections(PAGE.read_text(encoding="ascii")):
        if title == "events":
            for line in lines:
                name, written, then = re.split(r" {2,}", line.strip())
                events[name] = Event(name, "" if written == "-" else written, then)
            continue
        (_, *steps), *rows = (line.split() for line in lines)
        tables[title] = [
            (name, step, expected)
            for name, *row in rows
            for step, expected in zip(steps, row, strict=True)
            if expected != "-"
        ]
    return events, tables


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    for section in re.split(r"(?m)^\[", text)[1:]:
        title, _, rest = section.partition("]")
        yield title, [line for line in rest.splitlines() if line.strip() and not line.startswith("#")]


def cells(*, silent: bool) -> list[Cell]:
    """Return all cells, those whose event takes time or the others, with the ways of pipelining that concern them."""
    events, tables = page()
    return [
        Cell(table, events[name], step, expected.split("/")[0 if upstream else -1], upstream, client)
        for table, rows in tables.items()
        for name, step, expected in rows
        if events[name].takes_time is silent
        for upstream, client in _ways(table, step)
    ]


def _ways(table: str, step: str) -> list[tuple[bool, bool]]:
    """Return whether upstream and client pipeline; that one does and the other does not, `make test-long` tries."""
    if step not in {"mail", "rcpt", "data", "middle", "dot"} or table not in {"new", "kept"}:
        return [(True, True)]
    ways = [(True, True), (False, False)]
    return [*ways, (True, False), (False, True)] if table == "new" and WHOLE else ways


# ---------------------------------------------------------------- one cell


@dataclass
class Answers:
    """What a client heard in one transaction."""

    rcpt: str
    dot: str | None = None

    @property
    def last(self) -> str:
        """The verdict."""
        return self.dot if self.dot is not None else self.rcpt


def upstream_for(cell: Cell) -> Faulty:
    """Return the server of a cell, friendly still."""
    extensions = ["PIPELINING"] if cell.upstream_pipelines else []
    if cell.step in {"xclient", "ehlo-again"} or cell.table == "told":
        extensions.append("XCLIENT ADDR")
    upstream = Faulty(extensions=extensions, lmtp=cell.table.startswith("lmtp"), tls=cell.step == "starttls")
    upstream.second_hello = cell.step == "ehlo-again"
    if cell.step == "middle":
        upstream.content_limit = MIDDLE
    return upstream


def options_for(cell: Cell, upstream: Faulty) -> dict[str, object]:
    """Return the options of a cell."""
    options: dict[str, object] = {"upstream_hold": 3600, "idle_timeout": 3600}
    if cell.event.takes_time:
        options |= {f"{each}_timeout": PATIENCE for each in ("connect", "ehlo", "mailfrom", "rcptto", "body", "rset")}
    if cell.step in {"xclient", "ehlo-again"} or cell.table == "told":
        options["XCLIENT"] = "ifavailable" if "ifavailable" in cell.table else "required"
    if cell.step == "starttls":
        options["TLS"] = "ifavailable" if "ifavailable" in cell.table else "required"
    if upstream.lmtp:
        options |= {"Delivery_Method": "LMTP", "LMTP_Port": upstream.port}
    if cell.step == "quit":
        options["Max_Deliveries_Per_Connection"] = 1
    return options


def rewriting() -> tuple[Rule, ...]:
    """Return policy that puts another sender and another recipient in the place of the client's."""

    async def sender(session: Session) -> Verdict:
        session.transaction.reverse_path = path_of("new@sender.test")
        return PASS

    async def recipient(session: Session) -> Verdict:
        assert session.current_recipient is not None
        session.current_recipient.target = path_of(DAVE)
        return PASS

    return Rule(Phase.MAILFROM, sender), Rule(Phase.RCPTTO, recipient)


@asynccontextmanager
async def staged(cell: Cell) -> AsyncIterator[tuple[Faulty, WorkerStage]]:
    """Set the stage of a cell: a faulty server, and a worker before it whose connections are as the table says."""
    async with upstream_for(cell) as upstream:
        policy = rewriting() if cell.table == "rewritten" else ()
        async with serving(upstream, *policy, **options_for(cell, upstream)) as stage:
            pool = stage.pool
            only = None
            if cell.table == "kept" or cell.step in {"rset", "quit", "idle"}:
                client = await stage.greeted()
                await transaction(client, cell, upstream)
                await client.quit()
                await stage.ended()
                only = upstream.open_dialogues[-1] if upstream.open_dialogues else None
            else:
                for each in upstream.open_dialogues:
                    each.close()
                await eventually(lambda: all(each.wire.broken for each in pool._idle), "no connection is kept")
            upstream.said.clear()
            upstream.messages.clear()
            if cell.step == "connect":
                await upstream.stop_listening()
            elif cell.step == "idle":
                assert only is not None
                upstream.breaks_in(only, cell.event)
                await turns()
            else:
                upstream.misbehaves(cell.event, STEPS[cell.step], only=only if cell.table == "kept" else None)
            yield upstream, stage
        assert pool._slots.taken == 0
        assert not pool._slots.waiting
        await upstream.until(lambda: not upstream.open_dialogues, "every connection is closed")


async def transaction(client: Conversation, cell: Cell, upstream: Faulty) -> Answers:
    """Send one message, and return what was answered."""
    commands = (f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "DATA")
    if cell.client_pipelines:
        to_mail, to_rcpt, to_data = await client.pipeline(*commands)
    else:
        to_mail, to_rcpt = [await client.ask(each) for each in commands[:2]]
        to_data = await client.ask("DATA")
    assert to_mail == "250 2.1.0 Sender OK"
    if not to_rcpt.startswith("2"):
        assert to_data == "554 5.5.1 No valid recipients"
        return Answers(to_rcpt)
    assert to_data.startswith("354 ")
    if upstream.content_limit is None or upstream.event is None:
        return Answers(to_rcpt, await client.content(LETTER))
    await client.send_raw(BIG[: len(BIG) * 3 // 4])
    await upstream.until(lambda: bool(upstream.happened), "the upstream misbehaves in the middle")
    await turns()
    await client.send_raw(BIG[len(BIG) * 3 // 4 :] + b".\r\n")
    return Answers(to_rcpt, await client.reply())


async def heard(cell: Cell, upstream: Faulty, stage: WorkerStage) -> Answers:
    """Do what the step wants, and return what the client hears; at the steps between, of the next transaction."""
    client = await stage.greeted()
    if cell.step == "rset":
        replies = await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>", "RSET")
        assert replies == ["250 2.1.0 Sender OK", "250 2.1.5 Ok", "250 2.0.0 OK"]
        await settled(stage.pool)
    elif cell.step == "quit":
        await transaction(client, cell, upstream)
        await settled(stage.pool)
        upstream.messages.clear()
    return await transaction(client, cell, upstream)


def verify(cell: Cell, answers: Answers, upstream: Faulty) -> None:
    """Hold what was heard against the table, and against what was said."""
    said = [text for each in upstream.said for text in replies_in(each.octets)]
    for answer in (answers.rcpt, answers.last):
        # An acceptance and a permanent refusal are only ever the upstream's own.
        assert answer.rstrip() in said or answer in HEARD.values(), answer
    if answers.last.startswith("2"):
        (message,) = upstream.messages
        assert message.recipients == (f"RCPT TO:<{BOB}>",)
    elif not cell.expected.endswith("?"):
        assert upstream.messages == []
    assert word_of(cell, answers) == cell.word
    if cell.word != "delivered" and not cell.heard_at_rcpt:
        assert answers.rcpt == "250 2.1.5 Ok"
        assert answers.dot is not None


def word_of(cell: Cell, answers: Answers) -> str:
    """Return the table's word for what was heard."""
    if answers.dot is not None and answers.dot.startswith("2"):
        return "delivered"
    for word, text in HEARD.items():
        if answers.last == text:
            return word
    return "verbatim" if answers.last in replies_in(cell.event.reply(b"")) else answers.last


def replies_in(octets: bytes) -> list[str]:
    """Return the replies in what was said, as a client of `Conversation` has them."""
    found = re.findall(rb"((?:\d{3}-[^\r\n]*\r\n)*\d{3}(?: [^\r\n]*)?)\r\n", octets)
    return [each.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace") for each in found]


async def the_next_session_is_fine(stage: WorkerStage, upstream: Faulty) -> None:
    """End the sessions, heal the upstream, and see the next mail through; no place in the pool is lost."""
    for client in stage.clients:
        await client.close()
    await stage.ended()
    assert stage.pool._slots.taken == len(stage.pool._idle)
    upstream.behaves()
    before = len(upstream.messages)
    client = await stage.greeted()
    reply = await client.deliver(ALICE, [BOB], LETTER)
    assert reply == f"250 2.0.0 Ok: queued as {before + 1:06X}"
    assert len(upstream.messages) == before + 1
    await client.quit()
    await stage.ended()
    assert stage.pool._slots.taken == len(stage.pool._idle)


class Incidents:
    """What must not happen: exceptions in the log, and exceptions that reach the event loop."""

    def __init__(self) -> None:
        """Watch the running loop."""
        self.log: list[MutableMapping[str, Any]] = []
        self.loop: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.loop.append(str(context)))

    def verify(self, cell: Cell) -> None:
        """Find none, and an alarm if one is due."""
        assert self.loop == []
        assert [each for each in self.log if "exc_info" in each] == []
        events = {each["event"] for each in self.log}
        assert {each["event"] for each in self.log if each["log_level"] == "error"} <= {
            *ALARMS.values(),
            "upstream_down",
        }
        if cell.word in ALARMS:
            assert events & {*ALARMS.values()}, "an operator is told"


async def patiently(upstream: Faulty, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; each time the upstream falls silent, its time is up at once."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, SkippingLoop):
        await work
        return
    task = loop.create_task(work)
    while not task.done():
        silent = loop.create_task(upstream.fell_silent.wait())
        await asyncio.wait((task, silent), return_when=asyncio.FIRST_COMPLETED)
        silent.cancel()
        await turns()
        if upstream.fell_silent.is_set() and not task.done():
            loop.skip(PATIENCE + 1)
        upstream.fell_silent.clear()
    await task


async def run(cell: Cell) -> None:
    """Run a cell and hold it against the table."""
    incidents = Incidents()
    with capture_logs() as incidents.log:
        async with staged(cell) as (upstream, stage):
            await patiently(upstream, _run(cell, upstream, stage))
    incidents.verify(cell)


async def _run(cell: Cell, upstream: Faulty, stage: WorkerStage) -> None:
    verify(cell, await heard(cell, upstream, stage), upstream)
    if cell.step == "connect":
        await upstream.start()
    await the_next_session_is_fine(stage, upstream)
