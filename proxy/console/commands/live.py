"""tail and trace: events and dialogues as they happen, filtered here in the control process."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, TypeAlias

from proxy.console.filters import USAGE, Filter
from proxy.console.registry import Call, Command
from proxy.console.results import Result
from proxy.console.served import Served
from proxy.control.asking import Process
from proxy.events.forms import console
from proxy.metrics.book import BOOK
from proxy.metrics.table import TRACE_DROPPED

_CALLBACK = '"probe_dialogue"'

Read: TypeAlias = Callable[[Sequence[Any]], list[Mapping[str, Any]]]
"""From what a process sends to rows for a viewer."""

MOST_WAITING = 2000
"""Rows that wait for a viewer who reads slowly; further ones are lost, and the viewer is told how many."""


TURN = 20
"""Rows shown to a viewer before the processes are read again."""


def commands(served: Served) -> list[Command]:
    """Return the commands."""
    about = _Live(served)
    return [
        Command("tail", "Follow the events. Any input ends it.", follow=about.tail, arguments=f"{USAGE} […]"),
        Command(
            "trace",
            "Follow the dialogue of sessions, their next hops and callbacks, without passwords and messages. "
            "Any input ends it.",
            follow=about.trace, arguments=f"{USAGE} […]",
        ),
    ]  # fmt: skip


class _Event(dict[str, Any]):
    """An event, and its sentence once it was made: most viewers see the same one."""

    __slots__ = ("sentence",)
    sentence: str


class _Viewer:
    """One person's view of the events. Its memory is bounded."""

    def __init__(self, wanted: Filter, show: Callable[[Mapping[str, Any]], str]) -> None:
        self._wanted, self._show = wanted, show
        self._rows: deque[Mapping[str, Any]] = deque()
        self._lost = 0
        self._woken = asyncio.Event()
        self._began = time.time()
        self._session = ""

    def take(self, rows: list[Mapping[str, Any]], lost: int) -> None:
        """Take what fits."""
        self._lost += lost
        for row in rows:
            if not self._wanted.wants(row) or not self._is_chosen(row):
                continue
            if len(self._rows) >= MOST_WAITING:
                self._lost += 1
                BOOK.counts[TRACE_DROPPED.base] += 1
            else:
                self._rows.append(row)
        self._woken.set()

    def _is_chosen(self, row: Mapping[str, Any]) -> bool:
        """Whether it is of a session that began after this view, and of the one session, if that is wanted."""
        session = str(row.get("session", ""))
        if self._wanted.only_new and not _is_younger(session, self._began):
            return False
        if self._wanted.only_one:
            self._session = self._session or session
            return bool(session) and session == self._session
        return True

    async def results(self) -> AsyncGenerator[Result, None]:
        """Yield a result for each row, and one that tells of lost rows."""
        shown = 0
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._rows or self._lost:
                if self._lost:
                    lost, self._lost = self._lost, 0
                    told = f"... {lost} were lost, because this view was too slow"
                    yield Result({"lost": lost}, _as_json({"lost": lost}) if self._wanted.as_json else told)
                    continue
                row = self._rows.popleft()
                yield Result(row, self._show(row))
                shown += 1
                if shown % TURN == 0:  # a viewer of few rows must not lose one because others want all
                    await asyncio.sleep(0)
                if self._wanted.only_one and row.get("event") == "session":
                    return


def _is_younger(session: str, began: float) -> bool:
    """Whether a session began after a time, by its id (`proxy.mail.session`)."""
    try:
        return (int(session.partition("-")[0], 32) >> 12) / 1000 >= began
    except ValueError:
        return False


class _Live:
    def __init__(self, served: Served) -> None:
        self._served = served
        self._latest: tuple[Sequence[str], list[Mapping[str, Any]]] = ([], [])

    def _read(self, rows: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return rows as events, which all viewers share."""
        if self._latest[0] is not rows:
            self._latest = (rows, [_Event(json.loads(row)) for row in rows])
        return self._latest[1]

    async def tail(self, call: Call) -> AsyncGenerator[Result, None]:
        wanted = Filter.of(call.arguments)
        show = _as_json if wanted.as_json else _terse if wanted.terse else _sentence
        viewer = _Viewer(wanted, show)
        async for result in self._followed(viewer, events=self._read):
            yield result

    async def trace(self, call: Call) -> AsyncGenerator[Result, None]:
        wanted = Filter.of(call.arguments)
        viewer = _Viewer(wanted, _as_json if wanted.as_json else _said_tersely if wanted.terse else _said)
        known = _Known(wanted)
        async for result in self._followed(viewer, dialogues=known.of_sessions, events=known.of_callbacks):
            yield result

    async def _followed(self, viewer: _Viewer, **questions: Read) -> AsyncGenerator[Result, None]:
        processes = self._served.processes
        subscriptions = [processes.subscribe(name, {}, _taking(viewer, read)) for name, read in questions.items()]
        try:
            async for result in viewer.results():
                yield result
        finally:
            for each in subscriptions:
                processes.unsubscribe(each)


def _taking(viewer: _Viewer, read: Read) -> Callable[[Process, Mapping[str, Any]], None]:
    def heard(_process: Process, answer: Mapping[str, Any]) -> None:
        viewer.take(read(answer["rows"]), int(answer["dropped"]))

    return heard


class _Known:
    """The sessions that a viewer of dialogues sees: what their callbacks said comes by another way, as events."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._sessions: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    def of_sessions(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Note whose lines these are."""
        for row in rows:
            if self._wanted.wants(row):
                self._sessions[row["session"]] = row
                self._sessions.move_to_end(row["session"])
        while len(self._sessions) > MOST_WAITING:
            self._sessions.popitem(last=False)
        return list(rows)

    def of_callbacks(self, rows: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return the lines of these sessions' callbacks."""
        found: list[Mapping[str, Any]] = []
        for text in rows:
            if _CALLBACK not in text:
                continue
            event = json.loads(text)
            about = self._sessions.get(event.get("session", ""))
            if about is None or event["event"] != "probe_dialogue":
                continue
            for line in str(event["conversation"]).split("\n"):
                who, _, said = line.partition(" ")[2].partition(": ")
                found.append({**about, "party": "callback", "who": who, "line": said})
        return found


def _as_json(row: Mapping[str, Any]) -> str:
    return json.dumps(row)


def _sentence(row: Mapping[str, Any]) -> str:
    if not isinstance(row, _Event):
        return _spoken(row)
    if not hasattr(row, "sentence"):
        row.sentence = _spoken(row)
    return row.sentence


def _spoken(row: Mapping[str, Any]) -> str:
    return console(json.dumps(row).encode()).decode("ascii", "backslashreplace").rstrip("\n")


def _terse(row: Mapping[str, Any]) -> str:
    return _sentence(row).partition(f"  [{row['event']} ")[0]


def _said(row: Mapping[str, Any]) -> str:
    return f"{row['session']} {row['client']} {_said_tersely(row)}"


def _said_tersely(row: Mapping[str, Any]) -> str:
    other = "" if row["party"] == "client" else f"{row['party']} "
    return f"{other}{row['who']}: {row['line']}"
