"""From events to rows: what one open file gets to know."""

from __future__ import annotations

import calendar
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from proxy.events.fields import FIELDS
from proxy.history.addresses import Addresses, addresses_in, key_of

MOST_SESSIONS = 50_000
"""Sessions whose rows are remembered until they end; others are found again in the file."""

MOST_WORDS = 50_000
"""Words remembered; one that was forgotten is written again."""

LONGEST_TEXT = 1000
"""Characters of a field."""

Event = Mapping[str, Any]
Row = list[Any]

_FATE = ("phase", "disposition", "decided_by", "reply", "callback_status", "callback_reason", "callback_text",
         "upstream", "taken_by", "queue_id")  # fmt: skip
_WHO = ("client", "helo", "tls", "cipher", "user")
_LEFT_OUT = frozenset({"event", "timestamp", "level", "worker", "session", "transaction", *_WHO})
_ADDRESS_FIELDS = frozenset({"sender", "recipient", "address", "user"})
_PERSONAL = frozenset(name for name, field in FIELDS.items() if field.personal and field.type == "string")


def _insert(table: str, columns: int, row: str = "NULL,", how: str = "INSERT") -> str:
    return f"{how} INTO {table} VALUES ({row}{','.join('?' * columns)})"


_INSERT = {
    "words": _insert("words", 2, row=""),
    "keys": _insert("keys", 2, row="", how="INSERT OR IGNORE"),
    "sessions": _insert("sessions", 14, row="", how="INSERT OR REPLACE"),
    "transactions": _insert("transactions", 21),
    "recipients": _insert("recipients", 15),
    "probes": _insert("probes", 14),
    "notes": _insert("notes", 6, row=""),
    "dialogues": _insert("dialogues", 3),
    "answers": _insert("answers", 5),
    "gaps": _insert("gaps", 8),
    "sources": _insert("sources", 2, row="", how="INSERT OR REPLACE"),
}


class Rows:
    """The rows that events become, gathered until `write`. A file has one; its thread owns it."""

    def __init__(self, connection: sqlite3.Connection, addresses: Addresses) -> None:
        """Go on after what the file has."""
        self._connection, self._addresses = connection, addresses
        self._of = addresses.of
        self._words: dict[str, int] = {}
        self._sessions: OrderedDict[str, Row] = OrderedDict()
        self._changed: dict[int, Row] = {}
        self._messages: dict[int, tuple[int, str, tuple[Any, ...]]] = {}
        """Session's row → its latest message: number, sender, fate."""
        self._pending: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _INSERT}
        self._next_word = self._highest("words", "id") + 1
        self._next_session = self._highest("sessions", "row") + 1
        self._next_note = self._highest("notes", "row") + 1
        self._second = ("", 0)
        self._takers: dict[str, Callable[[Event, int, Row], None]] = {
            "message": self._message, "recipient": self._recipient, "session": self._session_ended,
            "probe": self._probe, "dialogue": self._dialogue, "answers": self._answers,
        }  # fmt: skip

    def _highest(self, table: str, column: str) -> int:
        return int(self._connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0])  # noqa: S608 - our own names

    def add(self, event: Event) -> None:
        """Take an event."""
        at = self._time(event["timestamp"])
        name = event["event"]
        if name == "history_gap":
            self._gap(event)
            return
        session = event.get("session")
        row = self._session(session, at, event) if session else None
        if row is None:
            self._without_session(event, at)
        else:
            self._takers.get(name, self._note)(event, at, row)

    def write(self, numbers: Mapping[int, int]) -> None:
        """Write everything in one transaction, with the last batch's number of each source.

        Raises:
            sqlite3.Error: nothing was written. The file must be opened again, with new rows.
        """
        pending, connection = self._pending, self._connection
        pending["sessions"] = [tuple(row) for row in self._changed.values()]
        pending["sources"] = list(numbers.items())
        connection.execute("BEGIN IMMEDIATE")
        try:
            for name, rows in pending.items():
                if rows:
                    connection.executemany(_INSERT[name], rows)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        for rows in pending.values():
            rows.clear()
        self._changed.clear()

    # ------------------------------------------------------------ sessions

    def _session(self, name: str, at: int, event: Event) -> Row:
        """Return a session's row; note what the event tells of its client."""
        row = self._sessions.get(name)
        if row is None:
            row = self._found_again(name) or self._new_session(name, at)
            self._sessions[name] = row
            if len(self._sessions) > MOST_SESSIONS:
                self._messages.pop(self._sessions.popitem(last=False)[1][0], None)
        if "helo" in event:
            self._note_client(row, event)
        elif row[3] is None and "client" in event:
            row[3] = self._word(event["client"])
            self._key(event["client"], row[0])
            self._changed[row[0]] = row
        return row

    def _note_client(self, row: Row, event: Event) -> None:
        word, client, user = self._word, event["client"], self._of(event.get("user") or "")
        told = (client, event["helo"], event.get("tls"), event.get("cipher"), user)
        who = [word(new) or old for new, old in zip(told, row[3:8], strict=True)]
        if row[3:8] == who:
            return
        if row[3] != who[0]:
            self._key(client, row[0])
        if user:
            self._key(user, row[0])
        row[3:8] = who
        self._changed[row[0]] = row

    def _new_session(self, name: str, at: int) -> Row:
        row: Row = [self._next_session, name, at, *[None] * 11]
        self._next_session += 1
        self._key(name, row[0])
        self._changed[row[0]] = row
        return row

    def _found_again(self, name: str) -> Row | None:
        """Look for a session that the file has from before a restart, or that was forgotten."""
        statement = "SELECT s.* FROM keys JOIN sessions s ON s.row = keys.session WHERE keys.key = ? AND s.id = ?"
        found = self._connection.execute(statement, (key_of(name), name)).fetchone()
        return list(found) if found else None

    def _session_ended(self, event: Event, at: int, row: Row) -> None:
        row[8:] = [self._word(event["via"]), event["messages"], event["recipients"], event["errors"],
                   int(event["seconds"] * 1000), self._word(event["ended"])]  # fmt: skip
        row[2] = min(row[2], at - row[12])
        self._changed[row[0]] = row
        self._sessions.pop(event["session"], None)
        self._messages.pop(row[0], None)

    # ------------------------------------------------------------ mail

    def _message(self, event: Event, at: int, row: Row) -> None:
        number, sender = _number(event), event["sender"]
        fate = self._fate(event, sender, *event["recipients"])
        message_id = event["message_id"]
        if self._addresses.hashed:
            message_id = self._addresses.within(message_id, sender)
        kept = self._of(sender)
        self._messages[row[0]] = (number, sender, fate)
        self._pending["transactions"].append((
            row[0], number, at, kept, message_id, event["recipient_count"], event["size"], *fate,
            *[_whole(event[name]) for name in ("client_ms", "policy_ms", "callback_ms", "upstream_ms")],
        ))  # fmt: skip
        for each in (kept, message_id, event["queue_id"]):
            if each:
                self._key(each, row[0])

    def _recipient(self, event: Event, at: int, row: Row) -> None:
        number, sender, address = _number(event), event["sender"], event["recipient"]
        fate = self._fate(event, sender, address)
        kept = self._of(address)
        if self._messages.get(row[0]) == (number, sender, fate):
            self._pending["recipients"].append((row[0], number, None, None, kept, *_AS_THE_MESSAGE))
        else:
            known = self._of(sender)
            self._pending["recipients"].append((row[0], number, at, known, kept, *fate))
            if known:
                self._key(known, row[0])
        self._key(kept, row[0])

    def _fate(self, event: Event, *known: str) -> tuple[Any, ...]:
        word, reply, said = self._word, event["reply"], event.get("callback_text") or None
        if self._addresses.hashed:
            reply = self._addresses.within(reply, *known)
            said = said and self._addresses.within(said, *known)
        return (
            word(event["phase"]), word(event["disposition"]), word(event["decided_by"]), reply[:LONGEST_TEXT],
            word(event.get("callback_status")), word(event.get("callback_reason")), said, word(event["upstream"]),
            word(event["taken_by"]), event["queue_id"] or None,
        )  # fmt: skip

    # ------------------------------------------------------------ the rest

    def _probe(self, event: Event, at: int, row: Row | None) -> None:
        within, word, address = self._addresses.within, self._word, event["address"]
        kept = self._of(address)
        self._pending["probes"].append((
            row[0] if row else 0, key_of(kept), at, kept, self._of(event["sender"]), word(event["status"]),
            word(event["reason"]), word(event["stage"]), event["code"], within(event["text"], address),
            word(event["exchanger"]), word(event["ip"]), event["tls"], int(event["seconds"] * 1000),
        ))  # fmt: skip

    def _dialogue(self, event: Event, at: int, row: Row) -> None:
        lines = "\n".join(event["lines"])
        self._pending["dialogues"].append((row[0], at, self._addresses.within(lines, *addresses_in(lines))))

    def _answers(self, event: Event, at: int, row: Row) -> None:
        text = msgspec.json.encode(event["asked_outside"]).decode()
        text = self._addresses.within(text, *addresses_in(text))
        self._pending["answers"].append((row[0], _number(event), at, event["dropped"], text))

    def _note(self, event: Event, at: int, row: Row | None) -> None:
        session = row[0] if row else 0
        fields = {name: value for name, value in event.items() if name not in _LEFT_OUT}
        where = session or -self._next_note
        for name in fields.keys() & _PERSONAL:
            for address in [fields[name]] if name in _ADDRESS_FIELDS else addresses_in(fields[name]):
                if address:
                    self._key(self._of(address), where)
        if not session and event.get("client"):
            self._key(event["client"], where)
            fields["client"] = event["client"]
        if self._addresses.hashed:
            fields = {name: self._hidden(name, value) for name, value in fields.items()}
        body = msgspec.json.encode(fields).decode()
        self._pending["notes"].append((self._next_note, session, _number(event), at, self._word(event["event"]), body))
        self._next_note += 1

    def _hidden(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return self._of(value) if name in _ADDRESS_FIELDS else self._addresses.within(value)

    def _without_session(self, event: Event, at: int) -> None:
        if event["event"] == "probe":
            self._probe(event, at, None)
        else:
            self._note(event, at, None)

    def _gap(self, event: Event) -> None:
        first, last = self._time(event["first"]), self._time(event["last"])
        counts = [event[name] for name in ("details", "accepted", "others", "refusals")]
        self._pending["gaps"].append((first, last, event.get("worker"), self._word(event["reason"]), *counts))

    # ------------------------------------------------------------ small things

    def _key(self, text: str, session: int) -> None:
        self._pending["keys"].append((key_of(text), session))

    def _word(self, text: str | None) -> int | None:
        if not text:
            return None
        found = self._words.get(text)
        if found is None:
            if len(self._words) >= MOST_WORDS:
                self._words.clear()
            found = self._words[text] = self._next_word
            self._next_word += 1
            self._pending["words"].append((found, text))
        return found

    def _time(self, stamp: str) -> int:
        """Return the milliseconds since 1970 of a log line's time."""
        known, seconds = self._second
        if stamp[:19] != known:
            seconds = calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S"))
            self._second = (stamp[:19], seconds)
        return seconds * 1000 + int(stamp[20:23])


_AS_THE_MESSAGE = (None,) * len(_FATE)


def _number(event: Event) -> int:
    """Return a transaction's number within its session."""
    number = str(event.get("transaction") or "").rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _whole(milliseconds: float) -> int | None:
    return round(milliseconds) or None
