"""The log's formats: a sentence for each event, and no foreign byte that forges an entry or reaches a terminal."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from functools import cache
from string import Formatter

import pytest
import structlog

from proxy.base import log, log_output
from proxy.events.event import Event
from proxy.events.forms import console, journal, logfmt, message_id, sentence
from proxy.events.sentences import SENTENCES
from proxy.events.table import EVENTS

HOSTILE = (
    "\x1b[31mred\x1b[0m \x07",
    'x" reply="250 ok" level=error',
    "line\r\n2026-11-28T12:00:00Z INFO forged\nMESSAGE=forged",
    "\u202egnissecorp\u2066 \u200b\u2028",
    "<b>[bold red]bold</b>[/] {sender} %s {0.__class__}",
    "\udcff\x00\x7f\x9b31m caf\u00e9 \U0001f4a3",
    "",
)
FORMS: list[Callable[[bytes], bytes]] = [logfmt, console, journal, lambda line: line]


def line_of(event: str, **fields: object) -> bytes:
    """Return the canonical line of an event."""
    (line,) = lines_of((event, fields))
    return line


def lines_of(*events: tuple[str, dict[str, object]]) -> list[bytes]:
    """Return the canonical lines of events."""
    stream = io.StringIO()
    log_output.configure(stream)
    try:
        for event, fields in events:
            log.get_logger().info(event, **fields)
        log_output.close()
    finally:
        structlog.reset_defaults()
    return stream.getvalue().encode("ascii").splitlines(keepends=True)


@cache
def every_event(text: str) -> list[bytes]:
    """Return a canonical line of each event that there is, whose fields all say `text`."""
    lines = lines_of(*((event.name, filled(event, text)) for event in EVENTS.values()))
    assert len(lines) == len(EVENTS)
    return lines


def filled(event: Event, text: str) -> dict[str, object]:
    """Return fields of an event that all say `text`."""
    kinds: dict[str, object] = {"string": text, "strings": [text, text], "status": text, "object": {text: text}}
    return {name: kinds.get(field.type, 7) for name, field in event.all_fields.items()}


def entries(sent: bytes) -> list[tuple[str, bytes]]:
    """Read an entry of the journal."""
    found = []
    while sent:
        name, separator, rest = re.split(rb"(=|\n)", sent, maxsplit=1)
        if separator == b"=":
            value, _, sent = rest.partition(b"\n")
        else:
            size = int.from_bytes(rest[:8], "little")
            value, sent = rest[8 : 8 + size], rest[9 + size :]
        found.append((name.decode(), value))
    return found


def test_each_event_has_a_sentence_of_its_own_required_fields() -> None:
    assert {name.partition(" ")[0] for name in SENTENCES} == EVENTS.keys()
    for name, template in SENTENCES.items():
        used = {field for _, field, _, _ in Formatter().parse(template) if field}
        assert used <= EVENTS[name.partition(" ")[0]].required.keys(), name


def test_a_sentence_tells_a_refusal_with_decider_and_reply() -> None:
    event = {
        "event": "recipient",
        "disposition": "refused",
        "recipient": "bob@example.com",
        "sender": "",
        "decided_by": "relay_domains",
        "reply": "550 5.7.1 Relaying denied",
    }
    assert sentence(event) == (
        'Recipient <bob@example.com> of <> was refused by relay_domains: "550 5.7.1 Relaying denied"'
    )


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("form", FORMS)
def test_no_event_lets_a_foreign_byte_through(form: Callable[[bytes], bytes], hostile: str) -> None:
    for line in every_event(hostile):
        made = form(line)
        if form is journal:
            for name, value in entries(made):
                assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name), name
                assert len(name) <= 64
                assert re.fullmatch(rb"[ -~\n]*", value), (name, value)
                assert b"\n" not in value or name in {"RINGBACK_EXCEPTION", "RINGBACK_STACK", "RINGBACK_DIAGNOSTICS"}
            continue
        assert made.endswith(b"\n")
        assert re.fullmatch(rb"[ -~\n]*", made)
        _, *others = made.decode().splitlines()
        assert all(re.match(r"    (exception|stack|diagnostics) \| ", other) for other in others)
        assert form is console or not others


def test_logfmt_reads_back_as_what_was_logged() -> None:
    for hostile in HOSTILE:
        made = logfmt(line_of("script", session="1", phase="data", text=hostile)).decode()
        pairs = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', made))
        assert list(pairs) == ["timestamp", "level", "event", "session", "phase", "text"]
        text = pairs["text"]
        assert (json.loads(text) if text.startswith('"') else text) == hostile


def test_an_entry_of_the_journal_has_priority_identifier_kind_and_own_fields() -> None:
    made = dict(entries(journal(line_of("recipient", recipient="a@b.example", decided_by="", code=550))))
    assert made["PRIORITY"] == b"6"
    assert made["SYSLOG_IDENTIFIER"] == b"ringback"
    assert made["MESSAGE_ID"].decode() == message_id("recipient") != message_id("message")
    assert re.fullmatch(r"[0-9a-f]{32}", message_id("recipient"))
    assert (made["RINGBACK_RECIPIENT"], made["RINGBACK_CODE"]) == (b"a@b.example", b"550")
    assert "RINGBACK_DECIDED_BY" not in made
    assert made["MESSAGE"].startswith(b"Recipient <a@b.example>")


def test_a_stack_keeps_its_lines_where_the_format_can_hold_them() -> None:
    line = line_of("worker_recovered", worker=1, pid=2, stack="one\ntwo\x1b")
    assert dict(entries(journal(line)))["RINGBACK_STACK"] == b"one\ntwo\\x1b"
    assert console(line).decode().splitlines()[1:] == ["    stack | one", "    stack | two\\x1b"]
    assert logfmt(line).count(b"\n") == 1
