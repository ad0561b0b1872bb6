"""Makes plain sentences of what a search found. Foreign words are in quotes; the caller escapes every line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from proxy.events.table import EVENTS
from proxy.history.search import Item, Story
from proxy.mail import replies
from proxy.metrics.deciders import DECIDERS

_PLACES = {
    "connect": "at the connection", "ehlo": "at EHLO", "auth": "at AUTH", "mailfrom": "at MAIL FROM",
    "rcptto": "at RCPT TO", "data": "at the end of the message", "each_rcpt": "after the message, for this recipient",
}  # fmt: skip
_VERBS = {
    "relayed": "was relayed", "refused": "was refused", "deferred": "was deferred", "discarded": "was discarded",
    "lost": "was lost: the client left before it got a reply",
}  # fmt: skip
_STAGES = {"dns": "in DNS", "connect": "when connecting", "banner": "in its greeting", "ehlo": "to EHLO",
           "mail": "to MAIL FROM", "rcpt": "to RCPT TO"}  # fmt: skip
_LEFT_OUT = frozenset({"kind", "row", "session", "number", "at", "event"})

LONGEST_SCRIPT = 1 << 20
"""Octets of a script whose line is shown."""


def told(story: Story) -> Iterator[str]:
    """Yield the lines of a story."""
    session = story.session
    yield f"{moment(session.get('at') or story.at)} UTC  {_client(session) if session else 'without a session'}"
    if session and session["ended"]:
        yield f"    The session ended after {session['ms'] / 1000:.1f} s ({session['ended']}): " + _counts(session)
    elif session:
        yield "    The history does not have the end of this session: it goes on, or the server was killed."
    for item in story.items:
        lines = _TELLERS[item["kind"]](item)
        yield from (f"  {clock(item['at'])}  {line}" if number == 0 else f"            {line}"
                    for number, line in enumerate(lines))  # fmt: skip


def moment(milliseconds: int) -> str:
    """Return a date and time."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(milliseconds: int) -> str:
    """Return a time of day."""
    return moment(milliseconds)[11:]


def _client(session: Item) -> str:
    parts = [f"session {session['id']}", f"client {session['client'] or 'unknown'}"]
    parts += [
        f"{name} {session[key]}" for name, key in (("EHLO", "helo"), ("via", "via"), ("user", "user")) if session[key]
    ]
    if session["tls"]:
        parts.append(f"{session['tls']} {session['cipher']}".strip())
    return ", ".join(parts)


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _counts(session: Item) -> str:
    return ", ".join(_many(session[f"{thing}s"], thing) for thing in ("message", "recipient", "error")) + "."


# ---------------------------------------------------------------- mail


def _transaction(item: Item) -> Iterator[str]:
    name = f" {item['message_id']}" if item["message_id"] else ""
    number = item["recipients"]
    what = f"The message{name} from <{item['sender']}> to {number} recipient{'' if number == 1 else 's'}"
    yield f"{what}, {item['size']} octets, {_VERBS.get(item['disposition'], item['disposition'])}."
    yield from _fate(item)
    stages = ", ".join(f"{item[f'{name}_ms'] or 0} ms {name}" for name in ("client", "policy", "callback", "upstream"))
    yield f"Time: {stages}."


def _recipient(item: Item) -> Iterator[str]:
    if item["as_the_message"]:
        yield f"Recipient <{item['address']}>: as the message."
        return
    sender = f" from <{item['sender']}>" if item["sender"] is not None else ""
    if item["disposition"] == "lost":
        yield f"No message arrived for <{item['address']}>{sender}: the client left, or started over."
        return
    yield f"Mail{sender} to <{item['address']}> {_VERBS.get(item['disposition'], item['disposition'])}."
    yield from _fate(item)


def _fate(item: Item) -> Iterator[str]:
    place = _PLACES.get(item["phase"], f"at {item['phase']}")
    if item["reply"]:
        yield f'Reply to the client {place}: "{item["reply"]}"'
    if item.get("taken_by"):
        queued = f" Its queue id there is {item['queue_id']}." if item["queue_id"] else ""
        yield f"{item['taken_by']} accepted it (next hop {item['upstream']}).{queued}"
    elif item["disposition"] != "lost":
        yield from decided(item["decided_by"], item["at"], item["reply"])
    if item.get("callback_status"):
        words = f': "{item["callback_text"]}"' if item["callback_text"] else ""
        yield f"The callback answered {item['callback_status']} ({item['callback_reason']}){words}"


_TROUBLE = {
    f"{reply.code} {reply.text}": told
    for reply, told in (
        (replies.UPSTREAM_UNREACHABLE, "The next hop could not be reached: {}"),
        (replies.UPSTREAM_LOST, "The next hop did not answer, or the connection to it was lost: {}"),
        (replies.UPSTREAM_REFUSED_US, "The next hop rejected our session, not this mail: {}"),
    )
}
"""Our replies about the next hop, and what they mean."""


_TOLD = {
    "protocol": "The rules of SMTP decided (protocol).",
    "early_talker": "Decided by early_talker: the client talked before the greeting.",
    "authentication": "Decided by authentication: unknown user or wrong password.",
}


def decided(by: str, at: int, reply: str | None) -> Iterator[str]:
    """Yield who decided; of a script, also its line as the file has it now.

    The next hop decides only if the reply is its own: three replies are ours, about our trouble with it.
    """
    kind, _, name = by.partition(" ")
    if kind == "script":
        yield f"The script decided: {name}"
        yield from _line_of(name, at)
    elif kind == "upstream":
        yield _TROUBLE.get(reply or "", "The next hop decided: {}").format(name)
    else:
        yield _TOLD.get(by) or f"Decided by {by}{'' if kind in DECIDERS else ', a module'}."


def _line_of(place: str, at: int) -> Iterator[str]:
    file, _, number = place.rpartition(":")
    path = Path(file)
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_SCRIPT:
            return
        line = path.read_text("utf-8", "backslashreplace").splitlines()[int(number) - 1].strip()
        changed = path.stat().st_mtime * 1000 > at
    except (OSError, ValueError, IndexError):
        return
    if line:
        yield f"  {line}" + ("   (the file has changed since)" if changed else "")


# ---------------------------------------------------------------- the rest


def _note(item: Item) -> Iterator[str]:
    if item["event"] == "refused":
        command = (
            "The connection"
            if item["command"] == "CONNECT"
            else f'"{item["command"]} {item["argument"]}"'.replace(' "', '"')
        )
        yield f"{command} {_VERBS.get(item['disposition'], item['disposition'])}."
        yield from _fate(item)
        return
    if item["event"] == "shadow":
        yield f"Shadow mode: the verdict on <{item['address']}> would have been {item['status']} ({item['reason']})."
        return
    if item["event"] == "probe_dialogue":
        yield f"The dialogue of the callback about <{item['address']}>, with milliseconds:"
        yield from (f"  {line}" for line in item["conversation"].split("\n"))
        return
    if item["event"] == "authentication":
        yield "The results of the sender checks:"
        yield from (f"  {each}" for each in item["results"].split("; "))
        return
    if item["event"] == "dnsbl_listed":
        kind = "The allow list" if item["allow"] else "The blocklist"
        yield f"{kind} {item['zone']} lists {item['listed']}: {item['answer']}, weight {item['weight']}."
        return
    event = EVENTS.get(item["event"])
    yield f"{item['event']}" + (f": {event.when}" if event else "")
    fields = ", ".join(
        f"{name}={_plain(value)}" for name, value in item.items() if name not in _LEFT_OUT and value != ""
    )
    if fields:
        yield fields


def _plain(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _probe(item: Item) -> Iterator[str]:
    result = f"{item['status']} ({item['reason']})" if item["reason"] else item["status"]
    where = f"{item['exchanger']} [{item['ip']}]" if item["ip"] else item["exchanger"] or "no exchanger"
    yield f"A callback asked {where} about <{item['address']}>, which took {(item['ms'] or 0) / 1000:.1f} s: {result}."
    if item["text"]:
        said = f"It replied {_STAGES.get(item['stage'], item['stage'])}" if item["code"] else "Found"
        yield f'{said}: "{item["text"]}"'


def _dialogue(item: Item) -> Iterator[str]:
    lines, times = item["lines"].split("\n"), item.get("milliseconds")
    if times is None:
        yield "The dialogue:"
        yield from (f"  {line}" for line in lines)
    else:
        yield "The dialogue, with milliseconds:"
        width = len(str(max(times)))
        yield from (f"  {at:>{width}} {line}" for at, line in zip(times, lines, strict=True))


def _answers(item: Item) -> Iterator[str]:
    count, left = len(item["answers"]), f" {item['dropped']} more were not kept." if item["dropped"] else ""
    yield f"Policy sent {count} quer{'ies' if count > 1 else 'y'} in phase {item['phase']}.{left}"
    yield from (f"  {' '.join(map(str, each))}" for each in item["answers"])


_TELLERS: dict[str, Callable[[Item], Iterator[str]]] = {
    "transactions": _transaction, "recipients": _recipient, "notes": _note, "probes": _probe, "dialogues": _dialogue,
    "answers": _answers,
}  # fmt: skip


def gap_told(gap: Item) -> str:
    """Return a gap as a sentence."""
    names = (("details", "recipients and sessions of accepted mail"), ("accepted", "accepted messages"),
             ("others", "other events"), ("refusals", "refusals"))  # fmt: skip
    lost = ", ".join(f"{gap[name]} {words}" for name, words in names if gap[name])
    return f"{moment(gap['first'])} to {clock(gap['last'])} UTC: {lost} are missing, because {gap['reason']}."


def gaps_told(gaps: Sequence[Item], most: int = 10) -> Iterator[str]:
    """Yield the latest gaps."""
    if len(gaps) > most:
        yield f"{len(gaps) - most} earlier gaps are not shown."
    yield from map(gap_told, gaps[-most:])
