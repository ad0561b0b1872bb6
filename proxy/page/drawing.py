"""`ladder_of`: from what the history has about a session to the steps of its ladder.

The history keeps the words of a dialogue only if a command was rejected. Accepted steps are inferred from the result,
and marked as such.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.history.search import Item, Story
from proxy.page.excerpts import excerpt
from proxy.page.ladder import CLIENT, EXCHANGER, RINGBACK, TONES, UPSTREAM, Ladder, Stages, Step, short

MOST_STEPS = 300

LONG_GAP = 100
"""Milliseconds without a step that are shown."""

CLOCKS = 2
"""Milliseconds between the times of an event and of the reply that it led to: they are of different clocks."""

MOST_RECIPIENTS = 8
"""Recipients of a message that have a step of their own."""

_PLACES = {
    "connect": "at the connection", "ehlo": "at EHLO", "auth": "at AUTH", "mailfrom": "at MAIL FROM",
    "rcptto": "at RCPT TO", "data": "at the end of the message", "each_rcpt": "for one recipient of the message",
}  # fmt: skip
_VERBS = {"relayed": "Relayed", "refused": "Refused", "deferred": "Deferred", "discarded": "Discarded",
          "lost": "Lost"}  # fmt: skip
_RANKS = ("lost", "relayed", "discarded", "deferred", "refused")
"""If a session has several fates, the last of these is its headline."""

_ENDS = {"quit": "QUIT", "client gone": "closes the connection", "timeout": "says nothing for too long"}
_SAME = 48
"""Characters by which a reply in a dialogue is recognized."""


def ladder_of(stories: Sequence[Story]) -> Ladder:
    """Return the picture of a session, which may have parts in several files."""
    session = stories[0].session
    items = [item for story in stories for item in story.items]
    items.sort(key=lambda each: (each["at"], each["kind"] != "probes"))
    ladder = Ladder(session, session.get("at") or stories[0].at)
    _Drawing(ladder, items).draw()
    return ladder


def ladder_of_running(details: Mapping[str, Any]) -> Ladder:
    """Return the picture of a session that runs, from what its worker says of it."""
    at = int((time.time() - details["seconds"]) * 1000)
    client = str(details["client"]).rpartition(":")[0]
    about = {"id": details["id"], "at": at, "client": client, "helo": details["helo"], "ms": None}
    session = {**about, "ended": "", "via": details["via"], "tls": details["tls"], "cipher": details["cipher"]}
    session["user"] = details["user"]
    lines = {"kind": "dialogues", "at": at, "lines": "\n".join(details["dialogue"])}
    lines["milliseconds"] = details.get("dialogue_ms")  # a worker of an older release does not tell
    ladder = ladder_of([Story(Path(), session, [lines] if details["dialogue"] else [])])
    ladder.sender, ladder.recipients = details["sender"], list(details["recipient_addresses"])
    ladder.headline, ladder.upstream = f"Runs: {details['phase']}", details["upstream"]
    return ladder


class _Drawing:
    """Makes the steps of one ladder."""

    def __init__(self, ladder: Ladder, items: Sequence[Item]) -> None:
        self._ladder, self._add = ladder, ladder.steps.append
        self._conversations = {
            each["address"]: each["conversation"] for each in items if each.get("event") == "probe_dialogue"
        }
        self._dialogues = [each for each in items if each["kind"] == "dialogues"]
        self._left = [each for each in items if each["kind"] != "dialogues" and each.get("event") != "probe_dialogue"]
        self._recipients = [each for each in items if each["kind"] == "recipients"]

    def draw(self) -> None:
        """Add all steps in order."""
        self._connected()
        for dialogue in self._dialogues:
            self._before(dialogue)
            self._dialogue(dialogue)
        self._told(self._left)
        session = self._ladder.session
        if session.get("ended"):
            ends = str(_ENDS.get(session["ended"], session["ended"]))
            self._add(Step(CLIENT, ends, RINGBACK, ms=session["ms"], told=True))
        _note_gaps(self._ladder.steps)
        self._ladder.more = len(self._ladder.steps) > MOST_STEPS
        del self._ladder.steps[MOST_STEPS:]

    def _since(self, at: int) -> int | None:
        return at - self._ladder.began if at >= self._ladder.began else None

    def _connected(self) -> None:
        session = self._ladder.session
        via = f", through {session['via']}" if session.get("via") else ""
        self._add(Step(CLIENT, f"connects{via}", RINGBACK, ms=0, told=True))
        if session.get("helo") and not self._dialogues:
            self._add(Step(CLIENT, f"EHLO {session['helo']}", RINGBACK, told=True))
        if session.get("tls"):
            self._add(Step(RINGBACK, f"{session['tls']} {session['cipher'] or ''}".strip(), title="TLS"))
        if session.get("user"):
            self._add(Step(RINGBACK, f"as {session['user']}", title="Logged in"))

    # ------------------------------------------------------------ dialogues

    def _before(self, dialogue: Item) -> None:
        """Tell what ended before a dialogue began, and is not in it."""
        spoken = dialogue["lines"]
        earlier = []
        for each in self._left:
            is_message = each["kind"] == "transactions"
            if is_message and each["at"] < dialogue["at"] and (each["reply"] or "-")[:_SAME] not in spoken:
                earlier.append(each)
        if earlier:
            until = earlier[-1]["at"]
            gone = [each for each in self._left if each["at"] <= until]
            self._left = [each for each in self._left if each["at"] > until]
            self._told(gone)

    def _dialogue(self, dialogue: Item) -> None:
        """Tell the words, and before each reply what led to it."""
        written = dialogue["lines"].split("\n")
        times = dialogue.get("milliseconds") or [""] * (len(written) - 1) + [self._since(dialogue["at"])]
        spoken = ((f"{at} {line[:1]}", line[3:]) for at, line in zip(times, written, strict=True))
        command = ""
        for mark, text in _joined(spoken):
            at, _, who = mark.partition(" ")
            ms = int(at) if at.isdigit() else None
            if who != "S":
                command = text
                self._add(Step(CLIENT, text, RINGBACK, ms=ms))
                continue
            until = dialogue["at"] if ms is None else self._ladder.began + ms + CLOCKS
            led = self._led_to(text, until)
            if led is not None or command[:4].upper() == "RCPT":
                self._probes(until)
            if led is not None:
                self._decision(led, ms)
            self._add(Step(RINGBACK, text, CLIENT, tone=_tone_of(text), ms=ms))

    def _led_to(self, reply: str, until: int) -> Item | None:
        """Take the item whose reply this is."""
        for each in self._left:
            known = (each.get("reply") or "")[:_SAME]
            if known and known == reply[:_SAME] and each["at"] <= until + 1000:
                self._left.remove(each)
                return each
        return None

    def _probes(self, until: int) -> None:
        for each in [each for each in self._left if each["kind"] == "probes" and each["at"] <= until]:
            self._left.remove(each)
            self._probe(each)

    # ------------------------------------------------------------ without words

    def _told(self, items: Sequence[Item]) -> None:
        """Tell what has no words, message by message."""
        for number in dict.fromkeys(each.get("number") or 0 for each in items if each["kind"] in _OF_MAIL):
            own = [each for each in items if each["kind"] in _OF_MAIL and (each.get("number") or 0) == number]
            until = max(each["at"] for each in own)
            before = [each for each in items if each["kind"] not in _OF_MAIL and each["at"] <= until]
            items = [each for each in items if each not in own and each not in before]
            self._transaction(own, before)
        for each in items:
            self._other(each)

    def _transaction(self, own: Sequence[Item], before: Sequence[Item]) -> None:
        messages = [each for each in own if each["kind"] == "transactions"]
        sender = next((each["sender"] for each in own if each["sender"] is not None), None)
        if sender is not None:
            self._add(Step(CLIENT, f"MAIL FROM:<{sender}>", RINGBACK, told=True))
            self._ladder.sender = self._ladder.sender or sender
        recipients = [each for each in own if each["kind"] == "recipients"]
        for each in recipients[:MOST_RECIPIENTS]:
            self._add(Step(CLIENT, f"RCPT TO:<{each['address']}>", RINGBACK, told=True))
        if len(recipients) > MOST_RECIPIENTS:
            more = len(recipients) - MOST_RECIPIENTS
            self._add(Step(CLIENT, f"RCPT TO: {more} more", RINGBACK, told=True))
        for each in before:
            self._other(each)
        for each in recipients:
            if not each["as_the_message"] and (not messages or each["disposition"] in {"refused", "deferred"}):
                self._decision(each)
                self._heard(each)
        for each in messages:
            self._message(each)

    def _message(self, item: Item) -> None:
        what = f" {item['message_id']}" if item["message_id"] else ""
        self._add(Step(CLIENT, f"the message{what}, {item['size']} octets", RINGBACK, told=True))
        self._decision(item)
        self._heard(item)

    def _heard(self, item: Item) -> None:
        if item["reply"]:
            at = self._since(item["at"])
            self._add(Step(RINGBACK, item["reply"], CLIENT, tone=_tone_of(item["reply"]), ms=at))

    def _other(self, item: Item) -> None:
        if item["kind"] == "probes":
            self._probe(item)
        elif item["kind"] == "answers":
            for each in item["answers"]:
                self._add(Step(RINGBACK, " ".join(map(str, each)), title="The script asked"))
        elif item["event"] == "refused":
            self._add(Step(CLIENT, f"{item['command']} {item['argument']}".strip(), RINGBACK, told=True))
            self._decision(item)
            self._heard(item)
        elif item["event"] == "authentication":
            self._add(Step(RINGBACK, item["results"], title="Who sent it", ms=self._since(item["at"])))
        elif item["event"] == "dnsbl_listed":
            told = f"{item['zone']} lists {item['listed']} ({item['answer']}, weight {item['weight']})"
            self._add(Step(RINGBACK, told, title="Allow list" if item["allow"] else "Blocklist",
                           ms=self._since(item["at"])))  # fmt: skip
        else:
            fields = [f"{name} {item[name]}" for name in ("reason", "status", "text", "recipient") if item.get(name)]
            self._add(Step(RINGBACK, ", ".join(fields), title=item["event"].replace("_", " "),
                           ms=self._since(item["at"])))  # fmt: skip

    # ------------------------------------------------------------ who decided

    def _decision(self, item: Item, ms: int | None = None) -> None:
        """Tell who decided, and keep it for the headline. `ms` is when, unless the event's own time is to be taken."""
        ladder, fate = self._ladder, item.get("disposition") or ""
        kind, _, name = (item.get("decided_by") or "").partition(" ")
        if item["kind"] == "transactions":
            self._timed(item)
        if item.get("upstream") or kind == "upstream":
            self._relayed(item)
        elif fate != "lost":
            self._add(replace(_decided(item, kind, name), ms=self._since(item["at"]) if ms is None else ms))
        if not ladder.fate or _rank(fate) > _rank(ladder.fate):
            place = _PLACES.get(item.get("phase") or "", f"at {item.get('phase')}")
            ladder.fate, ladder.reply, ladder.decided = fate, item.get("reply") or "", item.get("decided_by") or ""
            ladder.headline = _VERBS.get(fate, fate) + ("" if fate == "relayed" else f" {place}")
        ladder.sender = ladder.sender or item.get("sender") or sender_in(item)
        number = item.get("number")
        ladder.recipients = ladder.recipients or [
            each["address"] for each in self._recipients if each.get("number") == number
        ]

    def _timed(self, item: Item) -> None:
        parts = [(name, item[f"{name}_ms"] or 0) for name in ("client", "policy", "callback", "upstream")]
        if any(ms for _, ms in parts):
            self._ladder.stages.append(Stages(item["message_id"] or f"message {item['number']}", parts))

    def _relayed(self, item: Item) -> None:
        """Tell what the next hop got and said. Its last reply is the client's."""
        name = item["upstream"] or item["decided_by"].partition(" ")[2]
        self._ladder.upstream = self._ladder.upstream or name
        if item["kind"] == "transactions":
            text, took = f"MAIL, RCPT and the message, {item['size']} octets", item["upstream_ms"]
        else:
            text, took = f"MAIL and RCPT TO:<{item['address']}>", None
        self._add(Step(RINGBACK, text, UPSTREAM, told=True))
        at = self._since(item["at"])
        self._add(Step(UPSTREAM, item["reply"], RINGBACK, tone=_tone_of(item["reply"]), ms=at, took=took))

    # ------------------------------------------------------------ callbacks

    def _probe(self, item: Item) -> None:
        took, ended = item["ms"] or 0, self._since(item["at"])
        began = None if ended is None else max(0, ended - took)
        where = item["exchanger"] or "its exchanger"
        self._ladder.exchanger = self._ladder.exchanger or where
        earlier = " The answer is from an earlier session." if ended is None else ""
        self._add(Step(
            RINGBACK, f"{where} is asked whether <{item['address']}> exists.{earlier}", title="Callback", ms=began,
            callback=True,
        ))  # fmt: skip
        words = self._conversations.get(item["address"])
        for each in _conversation(words, began) if words else _told_conversation(item):
            self._add(each)
        result = f"{item['status']} ({item['reason'].replace('_', ' ')})" if item["reason"] else item["status"]
        self._add(Step(
            RINGBACK, "" if item["code"] else item["text"], title=f"Callback: {result}",
            tone=TONES.get(item["status"], ""), ms=ended, took=took, callback=True,
        ))  # fmt: skip


def sender_in(item: Mapping[str, Any]) -> str:
    """Return the address of a MAIL command that was refused."""
    command, argument = item.get("command"), str(item.get("argument") or "")
    return argument.partition("<")[2].partition(">")[0] if command == "MAIL" else ""


_OF_MAIL = frozenset({"transactions", "recipients"})


def _note_gaps(steps: list[Step]) -> None:
    latest = 0
    for at, step in enumerate(steps):
        if step.ms is not None:
            if step.ms - latest >= LONG_GAP:
                steps[at] = replace(step, gap=step.ms - latest)
            latest = max(latest, step.ms)


def _rank(fate: str) -> int:
    return _RANKS.index(fate) if fate in _RANKS else -1


def _tone_of(reply: str) -> str:
    return {"2": "ok", "3": "ok", "4": "deferred", "5": "refused"}.get(reply[:1], "")


def _decided(item: Item, kind: str, name: str) -> Step:
    """Return the note of who decided; of a script, with its line."""
    tone, at = TONES.get(item.get("disposition") or "", ""), item["at"]
    said = ""
    if item.get("callback_status"):
        words = f": {item['callback_text']}" if item.get("callback_text") else ""
        said = f"The callback answered {item['callback_status']} ({item['callback_reason'].replace('_', ' ')}){words}"
    if kind == "script":
        return Step(
            RINGBACK,
            said,
            title=f"The script decided: {short(item['decided_by'])[7:]}",
            tone=tone,
            excerpt=excerpt(name, at),
        )
    if kind == "protocol":
        return Step(RINGBACK, said, title="The rules of SMTP decided", tone=tone)
    return Step(RINGBACK, said, title=f"{item.get('decided_by') or 'Policy'} decided", tone=tone)


def _conversation(words: str, began: int | None) -> Iterator[Step]:
    """Yield the lines of a callback's dialogue: milliseconds since it began, who spoke, and what."""
    lines = [line.partition(" ")[::2] for line in words.split("\n")]
    spoken = ((f"{milliseconds} {said[:1]}", said[3:]) for milliseconds, said in lines)
    for mark, text in _joined(spoken):
        milliseconds, _, who = mark.partition(" ")
        ms = began + int(milliseconds) if began is not None and milliseconds.isdigit() else None
        if who == "C":
            yield Step(RINGBACK, text, EXCHANGER, ms=ms, callback=True)
        else:
            yield Step(EXCHANGER, text, RINGBACK, tone=_tone_of(text), ms=ms, callback=True)


def _joined(lines: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Make one line of each reply with several: its first line, then the rest of the others."""
    first, texts = "", list[str]()
    for who, text in lines:
        is_reply = who[-1:] == "S" and text[:3].isdigit()
        texts.append(text[4:] if texts else text)
        first = first or who
        if is_reply and text[3:4] == "-":
            continue
        if len(texts) > 1:
            texts[0] = f"{texts[0][:3]} {texts[0][4:]}"
        yield first, " · ".join(texts)
        first, texts = "", []
    if texts:
        yield first, " · ".join(texts)


_STAGES = (("connect", "connects"), ("banner", "waits for its greeting"), ("ehlo", "EHLO"), ("mail", "MAIL FROM"),
           ("rcpt", "RCPT TO"))  # fmt: skip


def _told_conversation(item: Item) -> Iterator[Step]:
    """Yield the steps up to the one that decided, if no words were kept."""
    names = [name for name, _ in _STAGES]
    if item["stage"] not in names:
        return
    last = names.index(item["stage"])
    done = ", ".join(text for _, text in _STAGES[: last + 1])
    about = f":<{item['address']}>" if item["stage"] == "rcpt" else ""
    yield Step(RINGBACK, f"{done}{about}", EXCHANGER, told=True, callback=True)
    if item["code"]:
        yield Step(EXCHANGER, item["text"], RINGBACK, tone=_tone_of(str(item["code"])), callback=True)
