"""Shows how a callback reached its verdict, with times, as text or JSON. It contacts no server.

Text from a remote server is shown as printable ASCII, never as markup; other octets are escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from proxy.callback.observer import Observer
from proxy.callback.reasons import REASONS
from proxy.callback.verdict import CallbackVerdict, Status

COLOURS = {Status.PASS: "green", Status.FAIL: "red", Status.TRANSIENT: "yellow", Status.ERROR: "magenta"}
_OF_REPLIES = {"2": "green", "3": "green", "4": "yellow", "5": "red"}
"""By the first digit of the code (RFC 5321 section 4.2.1)."""

_LONGEST_LINE = 500
"""Characters to show of a dialogue line."""


def shown(foreign: str | bytes) -> str:
    """Escape remote text so that it is safe for a terminal."""
    octets = foreign.encode("utf-8", "surrogateescape") if isinstance(foreign, str) else foreign
    text = "".join(chr(each) if 0x20 <= each < 0x7F else f"\\x{each:02x}" for each in octets[: _LONGEST_LINE + 1])
    return text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + "..."


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One step towards a verdict: an event of `callback.observer`, or `said`."""

    milliseconds: float
    """Since the question was asked."""
    event: str
    fields: Mapping[str, Any]


class Transcript(Observer):
    """Records the steps of a callback. Dialogue is recorded by line, each with the time of its last byte."""

    sees_connecting = True

    def __init__(
        self,
        follow: Callable[[TranscriptEntry], None] = lambda step: None,  # noqa: ARG005 — ignores steps
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock; `follow` gets each step at once."""
        self.steps: list[TranscriptEntry] = []
        self._follow, self._clock = follow, clock
        self._began = clock()
        self._unfinished: tuple[bool, bytes] = (False, b"")

    def note(self, event: str, **fields: Any) -> None:
        """Record an event."""
        self.finish()
        self._add(event, fields)

    def said(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 — as `Observer` has it
        """Record the lines that these bytes complete."""
        if self._unfinished[0] is not ours:
            self.finish()
        *lines, rest = (self._unfinished[1] + octets).split(b"\n")
        for line in lines:
            # A line that does not end with CR LF is an error worth seeing.
            self._say(ours, line.removesuffix(b"\r") if line.endswith(b"\r") else line + b"\n")
        self._unfinished = ours, rest

    def finish(self) -> None:
        """Record a line that has not ended yet."""
        ours, rest = self._unfinished
        self._unfinished = ours, b""
        if rest:
            self._say(ours, rest, unfinished=True)

    def _say(self, ours: bool, line: bytes, **more: bool) -> None:  # noqa: FBT001 — as above
        self._add("said", {"by": "us" if ours else "them", "line": shown(line), **more})

    def _add(self, event: str, fields: Mapping[str, Any]) -> None:
        step = TranscriptEntry(round((self._clock() - self._began) * 1000, 1), event, fields)
        self.steps.append(step)
        self._follow(step)


# ---------------------------------------------------------------- for people


def step_text(step: TranscriptEntry) -> Text:
    """Return a step as one line: when, and what."""
    line = Text(f"{step.milliseconds:7.0f} ms  ", style="dim")
    fields = step.fields
    if step.event == "said":
        said = fields["line"] + (" (unfinished)" if fields.get("unfinished") else "")
        if fields["by"] == "us":
            return line.append(f"> {said}", style="not dim cyan")
        return line.append(f"< {said}", style=f"not dim {_OF_REPLIES.get(said[:1], 'white')}")
    return line.append(_SENTENCES[step.event](fields), style="not dim")


def _exchangers(fields: Mapping[str, Any]) -> str:
    found = ", ".join(f"{preference} {shown(host) or '.'}" for preference, host in fields["exchangers"])
    domain = shown(fields["domain"])
    return f"{domain}: MX {found}" if found else f"{domain}: no MX; asking the domain itself (implicit MX)"


def _passed_over(fields: Mapping[str, Any]) -> str:
    place = shown(fields["host"]) + (f" [{fields['address']}]" if fields["address"] else "")
    return f"{place}: skipped: {shown(fields['why'])}"


_SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "mapped": lambda fields: f"{shown(fields['domain'])}: mapped to {shown(fields['host'])}",
    "exchangers": _exchangers,
    "addresses": lambda fields: f"{shown(fields['host'])}: {', '.join(fields['addresses']) or 'no address'}",
    "passed_over": _passed_over,
    "connecting": lambda fields: f"{shown(fields['host'])}: connecting to {', '.join(fields['addresses'])}",
    "connected": lambda fields: f"{shown(fields['host'])}: connected to {fields['address']}, port {fields['port']}",
    "tls": lambda fields: f"STARTTLS: {fields['version']}",
}


def verdict_text(question: str, verdict: CallbackVerdict) -> Text:
    """Return the verdict on an address, its reason, and its source, in a few lines."""
    lines = [
        Text.assemble(
            shown(question), ": ", (verdict.status.value, f"bold {COLOURS[verdict.status]}"), f" ({verdict.reason})"
        ),
        Text(f"  {shown(verdict.message)}"),
        Text(f"  {why(verdict)}"),
        Text(f"  {_found(verdict)}", style="dim"),
    ]
    return Text("\n").join(line for line in lines if line.plain.strip())


def row_text(question: str, verdict: CallbackVerdict) -> Text:
    """Return a verdict on one line, for lists."""
    return Text.assemble(
        (f"{verdict.status.value:9}", f"bold {COLOURS[verdict.status]}"),
        f" {verdict.reason:12} {shown(question)}: {shown(verdict.message)}",
    )


def why(verdict: CallbackVerdict) -> str:
    """Return what the reason means, as a sentence without its full stop."""
    reason = REASONS.get(verdict.reason)
    return reason.meaning.replace("`", "") if reason is not None else ""


def _found(verdict: CallbackVerdict) -> str:
    """Return the stage, exchanger and age of a verdict."""
    parts = []
    if verdict.exchanger:
        address = f" [{verdict.address}]" if verdict.address else ""
        parts.append(f"{verdict.stage} at {shown(verdict.exchanger)}{address}")
        parts += ["over TLS"] if verdict.tls else []
        parts += ["the null sender was refused"] if verdict.null_refused else []
    if verdict.cached:
        parts.append(f"cached, {verdict.age:.0f} s old")
    elif verdict.stage:
        parts.append(f"{verdict.seconds:.3f} s")
    return ", ".join(parts)


# ---------------------------------------------------------------- for programs


def record(question: str, verdict: CallbackVerdict, transcript: Transcript) -> dict[str, Any]:
    """Return everything as one JSON object. Remote text is printable ASCII."""
    steps = [{"ms": step.milliseconds, "event": step.event, **step.fields} for step in transcript.steps]
    fields = {name: shown(value) if isinstance(value, str) else value for name, value in asdict(verdict).items()}
    return {
        "question": question,
        **fields,
        "message": shown(verdict.message),
        "why": why(verdict),
        "dialogue": steps,
    }
