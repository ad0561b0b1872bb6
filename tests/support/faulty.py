"""A mail server that misbehaves at one step in one way, and sends its replies in one piece or cut at any octet.

It answers what came together together, as a server does that takes PIPELINING, so its replies are merged in the way
that RFC 2920 allows. What it says is kept word for word, for whoever asks what the client may have heard.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache

import trustme

from tests.support.exchanger import Act, After, Dialogue, Exchanger, Step, says
from tests.support.inbox import Gone, Inbox

TURNS = 8
"""Turns of the loop in which what was sent over loopback is read: the kernel delivers it within the call that sends."""


async def turns() -> None:
    """Let the other side, which runs on the same loop, read what was sent."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@dataclass(frozen=True, slots=True)
class Event:
    """One way to misbehave. `written` are octets with escapes; GOOD in it is the reply that a friendly server gives."""

    name: str
    written: str
    then: str = "goes on"

    @property
    def takes_time(self) -> bool:
        """Whether it lasts until Ringback or the client times out."""
        return self.then == "is silent"

    def reply(self, friendly: bytes) -> bytes:
        """Return the octets; `(x*3000)` in them means 3,000 times x."""
        many = re.sub(r"\((.+?)\*(\d+)\)", lambda found: found[1] * int(found[2]), self.written)
        octets = many.encode("latin-1").decode("unicode_escape").encode("latin-1")
        return octets.replace(b"GOOD", friendly.removesuffix(b"\r\n"))

    def act(self, friendly: bytes) -> Act:
        """Return what to do in place of a friendly reply."""
        return Act(self.reply(friendly), after=_AFTER.get(self.then, After.GO_ON))


_AFTER = {
    "closes": After.CLOSE,
    "resets": After.RESET,
    "half-closes": After.HALF_CLOSE,
    "is silent": After.SILENCE,
}


@dataclass(frozen=True, slots=True)
class Said:
    """What was said at a step, and on which connection."""

    dialogue: Dialogue
    step: Step
    octets: bytes


class Faulty(Exchanger):
    """Friendly but for `event` at `step`, on the connection `only` or on every one.

    Attributes:
        cuts: where the octets of a connection, counted from its first, are cut: each piece is read before the next is
            sent.
        merges: whether replies to commands that came together are sent together.
    """

    def __init__(
        self, *, extensions: Collection[str] = (), lmtp: bool = False, tls: bool = False, port: int = 0
    ) -> None:
        """Describe the server; `extensions` are its EHLO lines."""
        super().__init__(port=port, extensions=[*extensions, *(("STARTTLS",) if tls else ()), "HELP"])
        self.lmtp, self.tls = lmtp, tls
        self.event: Event | None = None
        self.step = Step.OTHER
        self.second_hello = False
        """Whether an event at EHLO waits for the second EHLO of a connection."""
        self.only: Dialogue | None = None
        self.happened = 0
        """How often the event took place."""
        self.most: int | None = None
        """How often it may."""
        self.fell_silent = asyncio.Event()
        """Set when the other side waits for an answer that will not come."""
        self.said: list[Said] = []
        self.cuts: Collection[int] = ()
        self.merges = True
        self._inboxes: dict[Dialogue, Inbox] = {}
        self._pending: dict[Dialogue, bytes] = {}
        self._sent: dict[Dialogue, int] = {}

    # ---- the event

    def misbehaves(self, event: Event, step: Step, *, only: Dialogue | None = None, most: int | None = None) -> None:
        """Do this from now on, at most this many times."""
        self.event, self.step, self.only, self.most, self.happened = event, step, only, most, 0

    def behaves(self) -> None:
        """Be friendly from now on."""
        self.event = None
        for each in self.dialogues:
            each.script.clear()

    def breaks_in(self, dialogue: Dialogue, event: Event) -> None:
        """Let the event take place on a connection where nothing is asked."""
        dialogue.writer.write(event.reply(b"250 2.0.0 Ok"))
        match event.then:
            case "closes":
                dialogue.close()
            case "resets":
                dialogue.reset()
            case "half-closes":
                dialogue.writer.write_eof()
                dialogue.mute = True
            case "is silent":
                dialogue.mute = True

    def act_at(self, step: Step, command: str) -> Act:
        """Return the friendly act."""
        if step is Step.OTHER and self.lmtp and command.startswith("LHLO "):
            return super().act_at(Step.EHLO, command)
        if step is Step.EHLO and self.lmtp:
            return says("500 5.5.1 Error: this is LMTP")
        if step is Step.STARTTLS and self.tls:
            return says("220 2.0.0 Ready to start TLS")
        if step is Step.XCLIENT and any(each.startswith("XCLIENT") for each in self.extensions):
            return says("220 exchanger.test ESMTP")
        return super().act_at(step, command)

    async def _do(
        self,
        dialogue: Dialogue,
        step: Step,
        command: str = "",
        *,
        before_reply: Callable[[bytes], None] = lambda reply: None,  # noqa: ARG005 - the default does nothing
    ) -> bytes:
        if dialogue.mute:
            self.fell_silent.set()
        if self._is_due(dialogue, step, command) and self.event is not None:
            self.happened += 1
            dialogue.script[step] = self.event.act(self.act_at(step, command).reply)
        reply = await super()._do(dialogue, step, command, before_reply=before_reply)
        dialogue.script.pop(step, None)
        if step is Step.STARTTLS and reply.startswith(b"220") and self.tls and not dialogue.mute:
            await self._encrypt(dialogue)
        return reply

    def _is_due(self, dialogue: Dialogue, step: Step, command: str) -> bool:
        if dialogue.mute or self.only not in {None, dialogue} or self.happened == self.most:
            return False
        if step is Step.OTHER and command.startswith("LHLO "):
            step = Step.EHLO
        if step is Step.EHLO and self.second_hello and sum(each[1:4] == "HLO" for each in dialogue.commands) < 2:
            return False
        return step is self.step

    async def _encrypt(self, dialogue: Dialogue) -> None:
        try:
            await dialogue.writer.start_tls(certified())
        except (OSError, EOFError) as error:
            raise Gone from error

    # ---- what is sent, and in which pieces

    async def _command(self, dialogue: Dialogue, command: str, inbox: Inbox) -> None:
        self._inboxes[dialogue] = inbox
        await super()._command(dialogue, command, inbox)

    async def _say(self, dialogue: Dialogue, step: Step, reply: bytes) -> None:
        self.said.append(Said(dialogue, step, reply))
        self._pending[dialogue] = self._pending.get(dialogue, b"") + reply
        inbox = self._inboxes.get(dialogue)
        slow = self.event is not None and self.event.then == "is slow" and step in dialogue.script
        if self.merges and not slow and inbox is not None and step in {Step.MAIL, Step.RCPT} and inbox.holds_line:
            return
        await self._flush(dialogue, slow=slow)

    async def _leave(self, dialogue: Dialogue, after: After) -> None:
        if after is not After.GO_ON:
            await self._flush(dialogue)
        await super()._leave(dialogue, after)
        if after is After.SILENCE:
            self.fell_silent.set()

    async def _flush(self, dialogue: Dialogue, *, slow: bool = False) -> None:
        octets, start = self._pending.pop(dialogue, b""), self._sent.get(dialogue, 0)
        end = self._sent[dialogue] = start + len(octets)
        cuts = range(start + 1, end) if slow else sorted(cut for cut in self.cuts if start < cut < end)
        for begin, stop in zip((start, *cuts), (*cuts, end), strict=True):
            if begin > start:
                await turns()
            dialogue.writer.write(octets[begin - start : stop - start])
        await dialogue.writer.drain()


@lru_cache
def certified() -> ssl.SSLContext:
    """Return the server's TLS context, with a certificate of an unknown issuer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("exchanger.test").configure_cert(context)
    return context
