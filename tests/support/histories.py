"""Events as the log writes them, drawn as the bench's second driver sends mail, and a writer with a test's clock."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.driver import RECIPIENTS
from proxy.base.lines import NAME_AT
from proxy.history.settings import HistorySettings
from proxy.history.writer import Batch, Writer
from tests.support.waiting import BOUND

NOW = 1_796_000_000.0
"""2026-11-30, in the morning."""

CLIENT = {"client": "192.0.2.7", "helo": "client.test", "tls": "", "cipher": "", "user": ""}
FATE = {
    "phase": "data", "disposition": "relayed", "decided_by": "upstream 127.0.0.1:25", "code": 250, "enhanced": "2.0.0",
}  # fmt: skip


def line(event: str, at: float = NOW, **fields: Any) -> bytes:
    """Return an event as the log's canonical line."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".123456Z"
    octets = msgspec.json.encode({"timestamp": stamp, "event": event, **fields})
    assert octets[NAME_AT:].startswith(event.encode())
    return octets + b"\n"


def session_line(session: str, **fields: Any) -> bytes:
    """Return the end of a session."""
    told = {"client": CLIENT["client"], "via": "", "helo": CLIENT["helo"], "messages": 1, "recipients": 1, "errors": 0}
    return line("session", session=session, **{**told, "seconds": 0.25, "ended": "quit", **fields})


def mail_lines(
    session: str, number: int = 1, *, sender: str = "a@sender.test", recipients: Sequence[str] = ("b@example.com",),
    queue_id: str = "4F2Q7z1Xy2z3", message_id: str = "<1.2@client.test>", at: float = NOW, **fate: Any,
) -> list[bytes]:  # fmt: skip
    """Return what is logged of a message: the message, then each recipient."""
    about = {"session": session, "transaction": f"{session}.{number}", **CLIENT, "sender": sender}
    told = {**FATE, "reply": f"250 2.0.0 Ok: queued as {queue_id}", **fate}
    place = {"upstream": "127.0.0.1:25", "taken_by": "127.0.0.1:25", "queue_id": queue_id}
    stages = {"client_ms": 12.1, "policy_ms": 0.4, "callback_ms": 0.1, "upstream_ms": 3.3}
    count = {"recipients": recipients[:10], "recipient_count": len(recipients), "message_id": message_id, "size": 4096}
    return [
        line("message", at, **about, **count, **told, **place, **stages),
        *(line("recipient", at, **about, recipient=each, **told, **place) for each in recipients),
    ]


def refusal_line(session: str, recipient: str, at: float = NOW, number: int = 1, **fields: Any) -> bytes:
    """Return a recipient that was refused at RCPT."""
    told = {
        "session": session, "transaction": f"{session}.{number}", **CLIENT, "sender": "a@sender.test",
        "recipient": recipient, "phase": "rcptto", "disposition": "refused", "decided_by": "protocol", "code": 550,
        "enhanced": "5.1.1", "reply": f"550 5.1.1 <{recipient}>: User unknown", "upstream": "", "taken_by": "",
        "queue_id": "",
    }  # fmt: skip
    return line("recipient", at, **{**told, **fields})


def session_id(number: int) -> str:
    """Return a session's id in its real length."""
    return f"1p5qk3{number:05d}-1f3a"


def drawn(messages: int, *, per_session: int = 1, only: int | None = None) -> Iterator[bytes]:
    """Yield the lines of some messages: recipients as the bench draws them, senders and names of usual length."""
    draw = random.Random(7)  # noqa: S311 - the same on every run
    for number in range(messages):
        name = session_id(number // per_session)
        count = only or _count(draw)
        digits = f"{draw.getrandbits(64):016x}"
        yield from mail_lines(
            name, number % per_session + 1, sender=f"first.last{digits[:3]}@d{number % 500}.sender.test",
            recipients=[f"user{draw.randrange(100_000)}@example.com" for _ in range(count)],
            queue_id=digits[:12].upper(), message_id=f"<{digits}.{number}@mail.d{number % 500}.sender.test>",
        )  # fmt: skip
        if (number + 1) % per_session == 0:
            yield session_line(name, client=f"198.51.100.{number % 250}", helo=f"mail.d{number % 500}.sender.test")


def _count(draw: random.Random) -> int:
    drawn_number = draw.randrange(100)
    for share, least, most in RECIPIENTS:
        if drawn_number < share:
            return draw.randint(least, most)
        drawn_number -= share
    raise AssertionError


def settings(folder: Path, **changed: Any) -> HistorySettings:
    """Return the settings of a history in a folder."""
    told: dict[str, Any] = {"on": True, "hashed": False, "secret": None, "retention": 7 * 86400.0, "most_octets": 0}
    return HistorySettings(folder=folder, **{**told, **changed})


def write(settings: HistorySettings, *lines: bytes, now: float = NOW, source: int = 1, first: int = 0) -> None:
    """Write lines as one batch, and close."""
    writer = Writer(settings, lambda: now)
    confirmed: list[int] = []
    writer.put(Batch(source, first, [each.rstrip() for each in lines], confirmed.append))
    writer.close(BOUND)
    assert confirmed == [first]
