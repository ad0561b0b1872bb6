"""From events to rows of one open file."""

from __future__ import annotations

import calendar
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from proxy.base.lines import name_of
from proxy.events.fields import FIELDS
from proxy.events.table import EVENTS
from proxy.history.addresses import Addresses, addresses_in, key_of
from proxy.history.keys import Keys
from proxy.history.mails import Mail, decode_mail

MOST_SESSIONS = 50_000
"""Sessions that are remembered until they end; another one of a name that was forgotten gets a second row."""

MOST_ENDED = 1000
"""Sessions that are remembered after their end, because a callback may end later."""

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
_NAMING = frozenset({"MAIL", "RCPT", "VRFY", "EXPN"})
_KEPT = frozenset(event.name.encode() for event in EVENTS.values() if event.history) | {b"history_gap"}
_BEGIN = b'{"timestamp":"'
_PERSONAL = frozenset(name for name, field in FIELDS.items() if field.personal and field.type == "string")


def _insert(table: str, columns: int, row: str = "NULL,", how: str = "INSERT") -> str:
    return f"{how} INTO {table} VALUES ({row}{','.join('?' * columns)})"


_INSERT = {
    "words": _insert("words", 2, row=""),
    "keys": _insert("keys", 2),
    "sessions": _insert("sessions", 14, row="", how="INSERT OR REPLACE"),
    "transactions": _insert("transactions", 22),
    "recipients": _insert("recipients", 15),
    "probes": _insert("probes", 14),
    "notes": _insert("notes", 6, row=""),
    "dialogues": _insert("dialogues", 3),
    "answers": _insert("answers", 5),
    "gaps": _insert("gaps", 8),
    "sources": _insert("sources", 2, row="", how="INSERT OR REPLACE"),
}


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_named_in = lru_cache(maxsize=1000)(addresses_in)
"""Each message of a client has the same findings about it."""


class _Session:
    """What is known of a session, and of its latest message."""

    __slots__ = ("fate", "number", "only", "row", "sender", "who")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.who: tuple[str, ...] | None = None
        """The client, according to the latest event."""
        self.number, self.sender = -1, ""
        self.fate: tuple[Any, ...] = ()
        self.only: str | None = None
        """The message's recipient, if its row has it."""


class Rows:
    """The rows that events become, gathered until `write`. A file has one; its thread owns it."""

    def __init__(self, connection: sqlite3.Connection, addresses: Addresses) -> None:
        """Continue after the last entry of the file."""
        self._connection, self._addresses = connection, addresses
        self._hashed, self._of = addresses.hashed, addresses.of
        self._words: dict[str, int] = {}
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._ended: OrderedDict[str, _Session] = OrderedDict()
        self._changed: dict[int, Row] = {}
        self._keys = Keys()
        self._known_words: dict[tuple[str, ...], tuple[int | None, ...]] = {}
        """The words of a fate → their numbers: most mail has one of a few."""
        self._pending: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _INSERT}
        self._transactions = self._pending["transactions"]
        self._next_word = self._highest("words", "id") + 1
        self._next_session = self._highest("sessions", "row") + 1
        self._next_note = self._highest("notes", "row") + 1
        self._second = ("", 0)
        self._takers: dict[str, Callable[[Event, int, _Session], None]] = {
            "session": self._session_ended, "probe": self._probe, "dialogue": self._dialogue, "answers": self._answers,
        }  # fmt: skip
        self._remember()

    def _highest(self, table: str, column: str) -> int:
        return int(self._connection.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchone()[0])  # noqa: S608 - our own names

    def _remember(self) -> None:
        """Find the sessions again that had not ended when another process wrote the file."""
        since = self._next_session - 4 * MOST_SESSIONS
        statement = "SELECT * FROM sessions WHERE row > ? AND ended IS NULL ORDER BY row DESC LIMIT ?"
        found = self._connection.execute(statement, (since, MOST_SESSIONS)).fetchall()
        self._sessions.update((row[1], _Session(list(row))) for row in reversed(found))

    def take(self, line: bytes) -> Event | None:
        """Take an event's line; return the event if it is a gap.

        Raises:
            msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError: it is malformed.
        """
        name = name_of(line)
        if name == b"message":
            self._message(decode_mail(line))
        elif name == b"recipient":
            self._recipient(decode_mail(line))
        elif name in _KEPT:
            event = _decode(line)
            self.add(event)
            return event if name == b"history_gap" else None
        elif not line.startswith(_BEGIN):
            raise ValueError("it is not a line of the log")
        return None

    def add(self, event: Event) -> None:
        """Take an event that is neither a message nor a recipient."""
        at = self._time(event["timestamp"])
        name = event["event"]
        if name == "history_gap":
            self._gap(event)
        elif session := event.get("session"):
            known = self._session(session, at)
            self._note_client_of(known, event)
            self._takers.get(name, self._note)(event, at, known)
        else:
            (self._probe if name == "probe" else self._note)(event, at, None)

    def write(self, numbers: Mapping[int, int]) -> None:
        """Write everything in one transaction, with the last batch's number of each source.

        Raises:
            sqlite3.Error: nothing was written. The file must be opened again, with new rows.
        """
        pending, connection = self._pending, self._connection
        pending["sessions"] = [tuple(row) for row in self._changed.values()]
        pending["sources"] = list(numbers.items())
        pending["keys"] = [*self._keys.packed()]
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
        self._keys.clear()

    # ------------------------------------------------------------ sessions

    def _session(self, name: str, at: int) -> _Session:
        """Return what is known of a session."""
        known = self._sessions.get(name) or self._ended.get(name)
        if known is None:
            known = self._sessions[name] = self._new_session(name, at)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)
        return known

    def _note_client_of(self, known: _Session, event: Event) -> None:
        """Note what an event says about its session's client."""
        client = event.get("client")
        if client is None:
            return
        if "helo" in event:
            told = (client, event["helo"], event.get("tls") or "", event.get("cipher") or "", event.get("user") or "")
            self._note_client(known, told)
        elif known.row[3] is None:
            self._note_client(known, (client, "", "", "", ""))

    def _note_client(self, known: _Session, told: tuple[str, ...]) -> None:
        """Note what is new of a client: its address, EHLO, TLS, cipher and user."""
        if told == known.who:
            return
        known.who, row = told, known.row
        user = self._of(told[4])
        who = [self._word(new) or old for new, old in zip((*told[:4], user), row[3:8], strict=True)]
        if row[3:8] == who:
            return
        if row[3] != who[0]:
            self._keys.add(told[0], row[0])
        if user:
            self._keys.add(user, row[0])
        row[3:8] = who
        self._changed[row[0]] = row

    def _new_session(self, name: str, at: int) -> _Session:
        row: Row = [self._next_session, name, at, *[None] * 11]
        self._next_session += 1
        self._keys.add(name, row[0])
        self._changed[row[0]] = row
        return _Session(row)

    def _session_ended(self, event: Event, at: int, known: _Session) -> None:
        row = known.row
        row[8:] = [self._word(event["via"]), event["messages"], event["recipients"], event["errors"],
                   int(event["seconds"] * 1000), self._word(event["ended"])]  # fmt: skip
        row[2] = min(row[2], at - row[12])
        self._changed[row[0]] = row
        self._sessions.pop(event["session"], None)
        self._ended[event["session"]] = known
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    # ------------------------------------------------------------ mail

    def _mail(self, mail: Mail, at: int) -> _Session:
        known = self._sessions.get(mail.session) or self._session(mail.session, at)
        who = (mail.client, mail.helo, mail.tls, mail.cipher, mail.user)
        if who != known.who:
            self._note_client(known, who)
        return known

    def _message(self, mail: Mail) -> None:
        at, number, sender = self._time(mail.timestamp), _number(mail.transaction), mail.sender
        known, fate, count = self._mail(mail, at), self._fate(mail), mail.recipient_count
        row, message_id, kept = known.row[0], mail.message_id, sender
        only = mail.recipients[0] if count == 1 and mail.disposition == "relayed" else None
        if self._hashed:
            fate = self._hidden_fate(fate, mail, sender, *mail.recipients)
            kept, only = self._of(sender), only and self._of(only)
            message_id = self._addresses.within(message_id, sender)
        known.number, known.sender, known.fate, known.only = number, sender, fate, only
        self._transactions.append((
            row, number, at, kept, message_id, count, mail.size, *fate, round(mail.client_ms) or None,
            round(mail.policy_ms) or None, round(mail.callback_ms) or None, round(mail.upstream_ms) or None, only,
        ))  # fmt: skip
        for each in (kept, only, message_id, mail.queue_id):
            if each:
                self._keys.add(each, row)

    def _recipient(self, mail: Mail) -> None:
        at = self._time(mail.timestamp)
        known, number, sender, address = self._mail(mail, at), _number(mail.transaction), mail.sender, mail.recipient
        fate, row, kept = self._fate(mail), known.row[0], address
        if self._hashed:
            fate, kept = self._hidden_fate(fate, mail, sender, address), self._of(address)
        if known.number == number and known.sender == sender and known.fate == fate:
            if kept == known.only:
                return
            self._pending["recipients"].append((row, number, None, None, kept, *_AS_THE_MESSAGE))
        else:
            sent_by = self._of(sender)
            self._pending["recipients"].append((row, number, at, sent_by, kept, *fate))
            if sent_by:
                self._keys.add(sent_by, row)
        self._keys.add(kept, row)

    def _fate(self, mail: Mail) -> tuple[Any, ...]:
        told = (mail.phase, mail.disposition, mail.decided_by, mail.callback_status, mail.callback_reason,
                mail.upstream, mail.taken_by)  # fmt: skip
        words = self._known_words.get(told) or self._words_of(told)
        return (*words[:3], mail.reply[:LONGEST_TEXT], words[3], words[4], mail.callback_text or None,
                words[5], words[6], mail.queue_id or None)  # fmt: skip

    def _hidden_fate(self, fate: tuple[Any, ...], mail: Mail, *known: str) -> tuple[Any, ...]:
        """Return a fate without the addresses in what the next hop and the exchanger said."""
        within = self._addresses.within
        reply, said = within(mail.reply, *known)[:LONGEST_TEXT], within(mail.callback_text, *known) or None
        return (*fate[:3], reply, *fate[4:6], said, *fate[7:])

    def _words_of(self, told: tuple[str, ...]) -> tuple[int | None, ...]:
        if len(self._known_words) >= MOST_WORDS:
            self._known_words.clear()
        words = self._known_words[told] = tuple(map(self._word, told))
        return words

    # ------------------------------------------------------------ the rest

    def _probe(self, event: Event, at: int, known: _Session | None) -> None:
        within, word, address = self._addresses.within, self._word, event["address"]
        kept = self._of(address)
        self._pending["probes"].append((
            known.row[0] if known else 0, key_of(kept), at, kept, self._of(event["sender"]), word(event["status"]),
            word(event["reason"]), word(event["stage"]), event["code"], within(event["text"], address),
            word(event["exchanger"]), word(event["ip"]), event["tls"], int(event["seconds"] * 1000),
        ))  # fmt: skip

    def _dialogue(self, event: Event, at: int, known: _Session) -> None:
        times = event.get("milliseconds") or []
        told = event["lines"] if len(times) != len(event["lines"]) else map("{} {}".format, times, event["lines"])
        lines = "\n".join(told)
        self._pending["dialogues"].append((known.row[0], at, self._addresses.in_commands(lines, *addresses_in(lines))))

    def _answers(self, event: Event, at: int, known: _Session) -> None:
        text = msgspec.json.encode({"phase": event["phase"], "answers": event["asked_outside"]}).decode()
        text = self._addresses.within(text, *addresses_in(text))
        self._pending["answers"].append((known.row[0], _number(event["transaction"]), at, event["dropped"], text))

    def _note(self, event: Event, at: int, known: _Session | None) -> None:
        session = known.row[0] if known else 0
        fields = {name: value for name, value in event.items() if name not in _LEFT_OUT}
        if (user := event.get("user")) and not (known and known.who and known.who[4] == user):
            fields["user"] = user  # who tried to log in is not the session's user
        where = session or -self._next_note
        for name in fields.keys() & _PERSONAL:
            for address in (fields[name],) if name in _ADDRESS_FIELDS else _named_in(fields[name]):
                if address:
                    self._keys.add(self._of(address), where)
        if not session and event.get("client"):
            self._keys.add(event["client"], where)
            fields["client"] = event["client"]
        if self._hashed:
            address = str(event.get("address") or "")
            fields = {name: self._hidden(name, value, address) for name, value in fields.items()}
            if fields.get("command") in _NAMING:
                fields["argument"] = self._addresses.in_argument(event["argument"])
        body = msgspec.json.encode(fields).decode()
        number = _number(event.get("transaction") or "")
        self._pending["notes"].append((self._next_note, session, number, at, self._word(event["event"]), body))
        self._next_note += 1

    def _hidden(self, name: str, value: Any, address: str) -> Any:
        if not isinstance(value, str):
            return value
        if name in _ADDRESS_FIELDS:
            return self._of(value)
        if name == "conversation":
            return self._addresses.in_commands(value, address)
        return self._addresses.within(value, address)

    def _gap(self, event: Event) -> None:
        first, last = self._time(event["first"]), self._time(event["last"])
        counts = [event[name] for name in ("details", "accepted", "others", "refusals")]
        self._pending["gaps"].append((first, last, event.get("worker"), self._word(event["reason"]), *counts))

    # ------------------------------------------------------------ small things

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


def _number(transaction: str) -> int:
    """Return a transaction's number within its session."""
    number = transaction.rpartition(".")[2]
    return int(number) if number.isascii() and number.isdigit() else 0
