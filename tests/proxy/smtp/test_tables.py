"""The tables of states, extensions and replies: a row of tests/spec/front for each cell, and no cell that none reads.

The rows run in every test. `make test-long` also mutates each cell in turn and runs the rows that use it: if they all
still passed, nothing would read the cell.
"""

from __future__ import annotations

import csv
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy.mail import extensions, replies
from proxy.mail.extensions import EXTENSIONS, Command, Extension, Offer, Parameter, carried_by, parameters_of
from proxy.mail.replies import Reply
from proxy.outgoing import envelope
from proxy.smtp import arguments, forwarded
from proxy.smtp.state import SAME, TABLE, Cell, State
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.rounds import WHOLE
from tests.support.worker import ALICE, BOB, LETTER, WorkerStage, serving

ROWS = Path(__file__).parents[2] / "spec" / "front"
long = pytest.mark.skipif(not WHOLE, reason="make test-long")


def rows(name: str) -> list[dict[str, str]]:
    with (ROWS / name).open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize(
    "parameter", [each for row in EXTENSIONS for each in row.parameters], ids=lambda each: each.name
)
def test_a_parameter_names_extensions_in_the_case_in_which_they_are_compared(parameter: Parameter) -> None:
    known = {each.keyword for each in EXTENSIONS}
    assert parameter.upstream in {"", *[each.lower() for each in known]}, "in lower case, or it is never sent"
    assert parameter.requires in {"", *known}, "in upper case, or it is never accepted"


def test_the_page_for_the_next_hop_names_each_extension_that_only_it_can_offer() -> None:
    page = (Path(__file__).parents[3] / "docs" / "behind-it.md").read_text()
    told = re.search(r"Ringback offers ([\w, ]+)\sto clients only if the MTA offers them", page)
    names = set(re.findall(r"[A-Z0-9]{3,}", told[1] if told else ""))
    wanted = {each.keyword for each in EXTENSIONS if each.needs}
    assert names == wanted, "name them in docs/behind-it.md"


@pytest.mark.parametrize("extension", EXTENSIONS, ids=lambda each: each.keyword)
def test_an_extension_needs_others_in_the_case_in_which_they_are_compared(extension: Extension) -> None:
    assert extension.keyword == extension.keyword.upper()
    assert extension.needs <= {each.keyword for each in EXTENSIONS}, "in upper case, or it is never offered"


# ---------------------------------------------------------------- a server that offers everything


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Options for TLS and AUTH."""
    folder = tmp_path_factory.mktemp("tables")
    issued = trustme.CA().issue_cert("mx.test")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "certificate.pem"))
    return {"TLS_Certificate": f'"{folder}/certificate.pem"', "Authentication": "upstream"}


class Bench:
    """A worker before an MTA, and a client in a state of the dialogue."""

    def __init__(self, stage: WorkerStage) -> None:
        self.stage = stage
        self.client: Conversation

    async def reach(self, state: State) -> None:
        """Connect, and bring the session into the state; TLS is only pretended."""
        self.client = await self.stage.conversation()
        self.progress = self.session.dialogue.progress
        if state in {State.READY, State.SENDER, State.RECIPIENTS}:
            await self.client.ehlo()
        if state in {State.SENDER, State.RECIPIENTS}:
            await self.client.ask(f"MAIL FROM:<{ALICE}>")
        if state is State.RECIPIENTS:
            await self.client.ask(f"RCPT TO:<{BOB}>")
        if state in {State.CONNECTED, State.SECURED}:
            self.session.session.extended_smtp = True  # as after XCLIENT PROTO=ESMTP: now only the table refuses AUTH
        if state is State.SECURED:
            self.session.session.ssl = {}
            self.progress.state = state
        assert self.progress.state is state

    @property
    def session(self) -> Any:
        port = self.client.local_port
        (found,) = (each for each in self.stage.worker.front.live if each.session.peer_address[1] == port)  # type: ignore[attr-defined]
        return found

    async def handshake(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await self.client._writer.start_tls(context)
        await self.client.ask("NOOP")


@asynccontextmanager
async def bench(secrets: dict[str, object]) -> AsyncIterator[Bench]:
    options = {
        **secrets,
        "Authentication_Without_TLS": "on",
        "XCLIENT_Hosts": "127.0.0.0/8",
        "Max_Message_Size": 1000,
        "Max_Connections_Per_Client": 0,
    }
    async with Exchanger() as upstream, serving(upstream, **options) as stage:
        yield Bench(stage)


# ---------------------------------------------------------------- states

STATES = rows("states.tsv")


async def holds(on: Bench, row: dict[str, str]) -> None:
    """Check one row of states.tsv."""
    await on.reach(State[row["state"]])
    sent, _, octets = row["sent"].partition("/*")
    await on.client.send_raw(sent.encode() + b"\r\n" + b"x" * int(octets or "0"))
    reply = await on.client.reply()
    assert reply.startswith(row["reply"])
    if reply.startswith("220 2.0.0"):
        await on.handshake()
    if reply.startswith("354"):
        assert (await on.client.content(LETTER)).startswith("250 ")
        assert on.progress.state is State.READY
        return
    assert on.progress.state is State[row["after"]]


def test_there_is_a_row_for_each_cell() -> None:
    assert [(row["row"], State[row["state"]]) for row in STATES] == [(verb, state) for verb in TABLE for state in State]


async def test_every_cell_of_the_state_table_holds(secrets: dict[str, object]) -> None:
    async with bench(secrets) as on:
        for row in STATES:
            await holds(on, row)


def mutations(cell: Cell) -> Iterator[Cell]:
    """Yield what a cell must not be. A state in place of SAME means nothing where the command is always rejected."""
    yield from (each for each in (replies.LOOP, replies.IN_TRANSACTION) if each is not cell)
    if type(cell) is State:
        yield SAME
        yield from (state for state in State if state is not cell)
    elif type(cell) is Reply:
        yield SAME


MUTABLE = [(row, other) for row in STATES for other in mutations(TABLE[row["row"]][State[row["state"]]])]


def is_another(row: dict[str, str], other: Cell) -> bool:
    """Whether a cell would differ: SAME and the state itself mean the same."""
    return not (other is SAME and row["after"] == row["state"] and row["reply"][0] == "2")


@long
async def test_no_cell_of_the_state_table_may_be_another(secrets: dict[str, object]) -> None:
    passed = []
    async with bench(secrets) as on:
        for row, other in MUTABLE:
            cells, state = TABLE[row["row"]], State[row["state"]]
            cell = cells[state]
            cells[state] = other
            try:
                await holds(on, row)
                if is_another(row, other):
                    passed.append((row["row"], row["state"], str(other)))
            except (AssertionError, ConnectionError):
                pass
            finally:
                cells[state] = cell
                on.client.abort()
    assert passed == []


# ---------------------------------------------------------------- extensions

OFFERS = rows("extensions.tsv")


@asynccontextmanager
async def offering(row: dict[str, str], secrets: dict[str, object]) -> AsyncIterator[tuple[Conversation, Exchanger]]:
    """Serve with a row's options, before an MTA with a row's extensions."""
    options: dict[str, object] = {}
    for word in row["setting"].split():
        name, _, value = word.partition("=")
        if name == "tls":
            options["TLS_Certificate"] = secrets["TLS_Certificate"]
        elif name == "auth":
            options |= {"Authentication": "upstream", "Authentication_Without_TLS": "on"}
        else:
            options[name] = value
    behind = () if row["behind"] == "none" else tuple(row["behind"].split())
    async with Exchanger(extensions=("PIPELINING", *behind)) as upstream, serving(upstream, **options) as stage:
        yield await stage.conversation(), upstream


async def offers(row: dict[str, str], secrets: dict[str, object]) -> None:
    """Check one row of extensions.tsv: a line of the reply to EHLO, a refusal, or the command that the MTA hears."""
    async with offering(row, secrets) as (client, upstream):
        hello = await client.ask("EHLO client.test")
        expected = row["expected"]
        if row["command"] == "EHLO":
            keywords = {line[4:].split()[0] for line in hello.split("\n")[1:]}
            assert expected[1:] not in keywords if expected[0] == "!" else same_line(expected, hello)
            return
        if row["command"] == "MAIL":
            answers = [await client.ask(row["sent"]), await client.ask(f"RCPT TO:<{BOB}>")]
        else:
            await client.ask(f"MAIL FROM:<{ALICE}>")
            answers = [await client.ask(row["sent"])]
        if expected[:1].isdigit():
            assert answers[0] == expected
        else:
            assert all(each.startswith("250 ") for each in answers)
            assert expected in upstream.commands


def same_line(expected: str, hello: str) -> bool:
    """Whether a reply to EHLO has a line, wherever it stands."""
    return expected[4:] in [line[4:] for line in hello.split("\n")]


@pytest.mark.parametrize("row", OFFERS, ids=lambda row: re.sub(r"\W+", "-", " ".join(row.values()))[:80])
async def test_every_row_of_extensions_holds(row: dict[str, str], secrets: dict[str, object]) -> None:
    await offers(row, secrets)


def test_every_extension_and_every_parameter_has_a_row() -> None:
    lines = {row["expected"].lstrip("!").removeprefix("250-").removeprefix("250 ").split()[0] for row in OFFERS}
    assert {each.keyword for each in EXTENSIONS} - lines == set(), "add rows to tests/spec/front/extensions.tsv"
    given = {(row["command"], name) for row in OFFERS for name in re.findall(r" ([A-Z0-9-]+)\b", row["sent"])}
    parameters = {(one.command.name, one.name) for each in EXTENSIONS for one in each.parameters}
    assert parameters - given == set(), "add rows to tests/spec/front/extensions.tsv"


def changed(value: Any) -> list[Any]:
    """Return other values for a field of the table."""
    match value:
        case bool():
            return [not value]
        case Offer() | Command():
            return [each for each in type(value) if each is not value]
        case str():
            return ["ELSE" if value.isupper() else "else"]
        case frozenset():
            return [value | {"ELSE"}, frozenset()]
        case tuple():
            return [(*value, "ELSE"), ()]
    return [None, re.compile("never"), re.compile(".*")]  # a form


def variants(row: Extension | Parameter) -> Iterator[tuple[str, Any]]:
    for each in fields(row):
        if each.name == "parameters":  # each is a row of its own
            continue
        value = getattr(row, each.name)
        if value == "":
            yield each.name, row.name.lower() if isinstance(row, Parameter) and each.name == "upstream" else "ELSE"
            continue
        for other in changed(value):
            if other != value:
                yield each.name, other


CONSUMERS: list[tuple[Any, str, Callable[[], Any]]] = [
    (arguments, "_OF_MAIL", lambda: parameters_of(Command.MAIL)),
    (arguments, "_OF_RCPT", lambda: parameters_of(Command.RCPT)),
    (
        arguments,
        "_ENCODED",
        lambda: frozenset(one.name for each in EXTENSIONS for one in each.parameters if one.encoded),
    ),
    (arguments, "_BINARY", lambda: next(e.needs for e in EXTENSIONS if "BINARYMIME" in {e.keyword, *e.needs})),
    (envelope, "_CARRIED_BY", carried_by),
    (forwarded, "_KNOWN", lambda: frozenset(extensions.BY_KEYWORD["XCLIENT"].words)),
]
"""What was read from the table when the modules were imported."""


def _uses(row: Extension | Parameter) -> list[dict[str, str]]:
    """Return the rows of extensions.tsv about an extension or a parameter."""
    name = row.keyword if isinstance(row, Extension) else row.name
    return [each for each in OFFERS if re.search(rf"(?<![A-Z]){name}\b", f"{each['sent']} {each['expected']}")]


@long
async def test_no_cell_of_the_extension_table_may_be_another(
    monkeypatch: pytest.MonkeyPatch, secrets: dict[str, object]
) -> None:
    passed = []
    for row in [*EXTENSIONS, *(one for each in EXTENSIONS for one in each.parameters)]:
        name = row.keyword if isinstance(row, Extension) else row.name
        for field, other in list(variants(row)):
            before = getattr(row, field)
            object.__setattr__(row, field, other)
            with monkeypatch.context() as patch:
                for module, attribute, made in CONSUMERS:
                    with suppress(KeyError, StopIteration):
                        patch.setattr(module, attribute, made())
                try:
                    for each in _uses_before(row, field, before):
                        await offers(each, secrets)
                    passed.append((name, field, str(other)))
                except (AssertionError, KeyError, ConnectionError):
                    pass
                finally:
                    object.__setattr__(row, field, before)
    assert passed == [], "\n".join(map(str, passed))


def _uses_before(row: Extension | Parameter, field: str, before: Any) -> list[dict[str, str]]:
    """Return the rows about an extension whose keyword may be mutated."""
    if field not in {"keyword", "name"}:
        return _uses(row)
    now = getattr(row, field)
    object.__setattr__(row, field, before)
    found = _uses(row)
    object.__setattr__(row, field, now)
    return found


# ---------------------------------------------------------------- replies

REPLIES = {row["reply"]: row["wire"] for row in rows("replies.tsv")}


def said(reply: Reply) -> str:
    return reply.wire.decode().rstrip() + " (closes)" * reply.close


def constants() -> dict[str, Reply]:
    return {name: value for name, value in vars(replies).items() if type(value) is Reply}


@pytest.mark.parametrize("name", REPLIES)
def test_every_reply_is_as_its_row_says(name: str) -> None:
    reply = constants()[name]
    assert said(reply) == REPLIES[name]
    digits = re.match(rb"(\d)\.\d+\.\d+ ", reply.lines[0])
    assert digits is None or int(digits[1]) == reply.code // 100, "class of the enhanced code (RFC 2034 section 4)"


def test_there_is_a_row_for_each_reply() -> None:
    assert list(REPLIES) == list(constants())


@long
async def test_no_reply_may_be_another(secrets: dict[str, object]) -> None:
    """Each reply of the state table is mutated while the rows that use it run; the others are compared with theirs."""
    passed = []
    async with bench(secrets) as on:
        for name, reply in constants().items():
            wire = reply.wire
            reply.wire = b"%d else\r\n" % reply.code
            try:
                uses = [row for row in STATES if row["reply"] != "250" and wire.startswith(row["reply"].encode())]
                for row in uses:
                    await holds(on, row)
                assert uses or said(reply) == REPLIES[name]
                passed.append(name)
            except AssertionError:
                pass
            finally:
                reply.wire = wire
    assert passed == []
