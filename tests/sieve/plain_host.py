"""A host of plain values: what a script asks is answered from attributes, what it does is kept as lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sieve import CallbackAnswer


@dataclass
class PlainMessage:
    """A message as text with line feeds."""

    text: str

    def header(self, name: str) -> Sequence[str]:
        found: list[str] = []
        for line in self.text.partition("\n\n")[0].split("\n"):
            key, colon, body = line.partition(":")
            if line[:1] in {" ", "\t"} and found and found[-1] is not None:
                found[-1] += line
            elif colon and key.strip().lower() == name.lower():
                found.append(body.strip())
        return found


@dataclass
class PlainHost:
    """A session without a server."""

    sender: str = "a@sender.example"
    recipients: Sequence[str] = ("r@example.com",)
    message: PlainMessage | None = None
    vctx_conn: dict[str, str] = field(default_factory=dict)
    vctx_mess: dict[str, str] = field(default_factory=dict)
    verdict: str = "pass"
    done: list[str] = field(default_factory=list)

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        asked = "" if sender is None else f" as <{sender}>"
        self.done.append(f"callback: {address}{asked}")
        if self.verdict == "raise":
            raise RuntimeError("the resolver is gone")
        return CallbackAnswer(self.verdict, "250 2.1.5 Ok" if self.verdict == "pass" else "550 5.1.1 No such user")

    async def tarpit(self, seconds: float) -> None:
        self.done.append(f"tarpit: {seconds:g} s")

    def log(self, text: str) -> None:
        self.done.append(f"log: {text}")

    def count(self, counter: str, code: int) -> None:
        self.done.append(f"count: {counter} {code}")

    def script_failed(self, script: str, line: int, reason: str) -> None:
        self.done.append(f"error: {script}:{line}: {reason}")
