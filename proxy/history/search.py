"""Looks for a subject in the files: an address, a session, a client, a Message-ID or a queue id."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.history.addresses import Addresses, canonical, key_of
from proxy.history.files import DayFile, OtherFile, day_of, files_in, mark_of, open_for_reading
from proxy.history.keys import sessions_of
from proxy.history.subjects import beginning_of, spellings

MOST_STORIES = 50
"""Sessions that are shown; `Found.more` says if there were others."""

MOST_ITEMS = 500
"""Rows of one kind that are read of a session."""

Item = dict[str, Any]
"""A row with its names, its words spelled out; `kind` is its table, `at` its milliseconds since 1970."""

_WORDS = frozenset({
    "client", "helo", "tls", "cipher", "user", "via", "ended", "phase", "disposition", "decided_by", "callback_status",
    "callback_reason", "upstream", "taken_by", "status", "reason", "stage", "exchanger", "ip", "event",
})  # fmt: skip
_NOT_WORDS = {"probes": frozenset({"tls"})}
_FATE = ("phase", "disposition", "decided_by", "reply", "callback_status", "callback_reason", "callback_text",
         "upstream", "taken_by", "queue_id")  # fmt: skip
_OF_SESSIONS = ("transactions", "recipients", "notes", "probes", "dialogues", "answers")
_REJECTED = frozenset({"refused", "deferred"})
_MAIL = frozenset({"transactions", "recipients"})


@dataclass(frozen=True, slots=True)
class Story:
    """A session, or an event without one, with what the history has about the subject, oldest first."""

    file: Path
    session: Item
    items: Sequence[Item]

    @property
    def at(self) -> int:
        """When it ended, as far as is known."""
        return max([each["at"] for each in self.items], default=self.session.get("at") or 0)


@dataclass(slots=True)
class Found:
    """What a search found, and where it looked."""

    files: list[DayFile] = field(default_factory=list)
    stories: list[Story] = field(default_factory=list)
    gaps: list[Item] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    other_key: list[Path] = field(default_factory=list)
    """Files whose hashes have a key that is not known now: nothing can be found in them by an address."""
    more: bool = False


def search(folder: Path, subject: str, addresses: Addresses, *, since: float = 0.0) -> Found:
    """Return what the files have about a subject since a time, newest last.

    Raises:
        OSError: the folder cannot be read.
    """
    found = Found()
    for file in reversed(files_in(folder)):
        if since and file.day < day_of(since):
            continue
        try:
            with closing(open_for_reading(file.path)) as connection:
                _look(Reader(file, connection, addresses), subject, since, found)
        except (sqlite3.Error, OtherFile) as error:
            found.unreadable.append((file.path, str(error) or "it is not a history of this release"))
    found.files.sort()
    found.stories.sort(key=lambda each: each.at)
    found.more |= len(found.stories) > MOST_STORIES
    del found.stories[:-MOST_STORIES]
    return found


def _look(reader: Reader, subject: str, since: float, found: Found) -> None:
    found.files.append(reader.file)
    if reader.mark and reader.mark != reader.addresses.mark:
        found.other_key.append(reader.file.path)
    found.gaps += [gap for gap in reader.gaps() if gap["last"] >= since * 1000]
    if len(found.stories) > MOST_STORIES:
        found.more = True
        return
    for number, story in enumerate(reader.stories(subject)):
        if number > MOST_STORIES:
            found.more = True
            return
        if story.at >= since * 1000:
            found.stories.append(story)


class Reader:
    """One file, open for reading."""

    def __init__(self, file: DayFile, connection: sqlite3.Connection, addresses: Addresses) -> None:
        connection.row_factory = sqlite3.Row
        self.file, self._connection, self.addresses = file, connection, addresses
        self.mark = mark_of(connection)
        self._words: dict[int, str] = {}

    def names(self, subject: str) -> set[str]:
        """Return what the file may call a subject."""
        plain = {canonical(each) for each in spellings(subject)}
        return plain | {canonical(self.addresses.of(each)) for each in plain} if self.mark else plain

    def stories(self, subject: str) -> Iterator[Story]:
        """Yield what the file has about a subject, newest first."""
        names = self.names(subject)
        nothing = True
        for row in sessions_of(self._connection, map(key_of, names)):
            story = self._without_session(-row) if row < 0 else self._of_session(row, names)
            if story is not None:
                nothing = False
                yield story
        if nothing and (beginning := beginning_of(subject)):
            yield from self._of_beginning(beginning)

    def _of_beginning(self, beginning: str) -> Iterator[Story]:
        """Yield the stories of sessions whose names have this beginning: the name may have been cut."""
        condition = "id BETWEEN ? AND ? || '~'"
        for row in self.items("sessions", condition, beginning, beginning)[::-1]:
            story = self._of_session(row["row"], {canonical(row["id"])})
            if story is not None:
                yield story

    def gaps(self) -> list[Item]:
        """Return what is missing."""
        return [self._item("gaps", row) for row in self._connection.execute("SELECT * FROM gaps ORDER BY first")]

    def items(self, table: str, condition: str, *values: object) -> list[Item]:
        """Return rows of a table, oldest first."""
        statement = f"SELECT * FROM {table} WHERE {condition} ORDER BY row DESC LIMIT {MOST_ITEMS}"  # noqa: S608 - our own names
        return [self._item(table, row) for row in reversed(self._connection.execute(statement, values).fetchall())]

    def probes_of(self, address: str, before: int) -> list[Item]:
        """Return the latest probe of an address until a time."""
        found = self.items("probes", "key = ? AND at <= ?", key_of(address), before)
        return [each for each in found if canonical(each["address"]) == canonical(address)][-1:]

    # ------------------------------------------------------------ stories

    def _without_session(self, row: int) -> Story | None:
        notes = self.items("notes", "row = ?", row)
        return Story(self.file.path, {}, notes) if notes else None

    def _of_session(self, row: int, names: set[str]) -> Story | None:
        sessions = self.items("sessions", "row = ?", row)
        if not sessions:
            return None
        session = sessions[0]
        tables = {table: self.items(table, "session = ?", row) for table in _OF_SESSIONS}
        _complete(tables)
        everything = [item for table in tables.values() for item in table]
        told = {canonical(str(session[name] or "")) for name in ("id", "client", "user", "via")}
        items = everything if told & names else _about(everything, names)
        if not items and not told & names:
            return None
        items += self._probes_behind(items)
        return Story(self.file.path, session, sorted(items, key=lambda each: each["at"]))

    def _probes_behind(self, items: Sequence[Item]) -> list[Item]:
        """Return the probes whose cached verdicts decided about these items."""
        known = {each["row"] for each in items if each["kind"] == "probes"}
        found: dict[int, Item] = {}
        for each in items:
            if each.get("callback_status"):
                asked = [address for address in (each.get("sender"), each.get("address")) if address]
                probes = [probe for address in asked for probe in self.probes_of(address, each["at"])]
                found |= {probe["row"]: probe for probe in probes if probe["row"] not in known}
        return list(found.values())

    # ------------------------------------------------------------ rows

    def _item(self, table: str, row: sqlite3.Row) -> Item:
        item: Item = {"kind": table, **dict(row)}
        for name in item.keys() & (_WORDS - _NOT_WORDS.get(table, frozenset())):
            item[name] = self._word(item[name])
        if table == "notes":
            item |= json.loads(item.pop("fields"))
        elif table == "answers":
            item |= json.loads(item["answers"])
        elif table == "dialogues":
            item |= _timed(item["lines"])
        return item

    def _word(self, number: int | None) -> str:
        if number is None:
            return ""
        if number not in self._words:
            found = self._connection.execute("SELECT text FROM words WHERE id = ?", (number,)).fetchone()
            self._words[number] = found[0] if found else "?"
        return self._words[number]


def _complete(tables: dict[str, list[Item]]) -> None:
    """Give recipients that have the fate of their message what the message has."""
    messages = {each["number"]: each for each in tables["transactions"]}
    told = {(each["number"], each["address"]) for each in tables["recipients"]}
    for each in tables["transactions"]:
        number, address = each["number"], each.pop("address")
        if address is not None and (number, address) not in told:
            recipient = {"kind": "recipients", "row": 0, "session": each["session"], "number": number, "at": None}
            tables["recipients"].append({**recipient, "address": address})
    for each in tables["recipients"]:
        message = messages.get(each["number"])
        each["as_the_message"] = each["at"] is None
        if message is not None and each["at"] is None:
            each |= {name: message[name] for name in ("at", "sender", *_FATE)}
        each["at"] = each["at"] or 0


def _about(items: Sequence[Item], names: set[str]) -> list[Item]:
    """Return the items of a session that concern a subject: its own, and the rest of their transactions."""
    own = [each for each in items if _concerns(each, names)]
    if not own:
        return []
    transactions = {each["number"] for each in own if each.get("number")}
    whole = {each["number"] for each in own if each["kind"] == "transactions"}
    is_rejected = any(each.get("disposition") in _REJECTED for each in own)

    def belongs(item: Item) -> bool:
        number = item.get("number")
        if item["kind"] == "recipients":
            return number in whole
        if item["kind"] == "dialogues":
            return is_rejected
        return number in transactions if number else item["kind"] not in _MAIL

    chosen: Callable[[Item], bool] = lambda each: each in own or belongs(each)  # noqa: E731
    return [each for each in items if chosen(each)]


def _timed(written: str) -> Item:
    """Return the lines of a dialogue and, unless an older release wrote them, the milliseconds of each."""
    pairs = [line.partition(" ") for line in written.split("\n")]
    if not all(at.isdigit() for at, _, _ in pairs):
        return {"lines": written, "milliseconds": None}
    return {"lines": "\n".join(line for _, _, line in pairs), "milliseconds": [int(at) for at, _, _ in pairs]}


def _concerns(item: Item, names: set[str]) -> bool:
    kind = item["kind"]
    if kind in {"dialogues", "answers"}:
        return False
    values = [
        str(value).lower() for name, value in item.items() if name not in {"kind", "reply", "decided_by"} and value
    ]
    if any(value.strip(" \t<>") in names for value in values):
        return True
    return kind == "notes" and any(name in value for name in names for value in values)
