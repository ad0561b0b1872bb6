"""The module: it waits in the connect phase and notes early talkers. The SMTP server itself rejects them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.settings import ModuleSettings
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Uses
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, PlainModule, Verdicts
from proxy.modules.conntrol.options import SPEC, ConntrolOptions, refusal_of
from proxy.options.names import banner_lines, goes_on
from sieve.phases import Need, Phase

_GRACE_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0


def _mistakes(loaded: ModuleSettings) -> Iterator[Diagnostic]:
    pause = cast(ConntrolOptions, loaded.options).pause_time
    if pause >= _PATIENCE_SECONDS:
        yield Diagnostic(
            f"pause_time = {pause:g}s exceeds typical client patience",
            loaded.origin("pause_time") or loaded.span,
            hint="write a few seconds; clients give up after five minutes (RFC 5321 section 4.5.3.2.1)",
            severity=Severity.WARNING,
        )


class ConntrolValidator:
    """Waits before the greeting. Later scripts of the connect phase can read early_talker."""

    on_error = OnError.ACCEPT
    """A failed pause must not reject clients."""

    uses = Uses(sets=frozenset({"early_talker", "greeting"}))

    def __init__(self, name: str, options: ConntrolOptions) -> None:
        """Take the options."""
        self.name = name
        self.deadline = options.pause_time + _GRACE_SECONDS
        self._pause = options.pause_time
        self._lets_talk = options.early_talker == "accept"
        self._refusal = _refusal(options.disconnect_ratware)
        self._greeting = _greeting(options.banner)

    def hooks(self) -> Mapping[Phase, Hook]:
        """Speak in the connect phase."""
        return {Phase.CONNECT: self._judge}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 — there is no content yet
        """Read nothing of the content."""
        return Need.NOTHING

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:  # noqa: ARG002 — as always
        """Say how long the client must be silent."""
        session.greeting = self._greeting
        if session.can_relay:
            return Explained("a relay host does not wait")
        return Explained(f"waits {self._pause:g} s before the greeting, in which the client must be silent")

    def _judge(self, session: Session) -> Verdict | Awaitable[Verdict]:
        session.greeting = self._greeting
        return PASS if session.can_relay else self._wait(session)

    async def _wait(self, session: Session) -> Verdict:
        session.may_talk_early = self._lets_talk
        if await session.speaks_within(self._pause):
            session.context["early_talker"] = "yes"
            return self._refusal
        return PASS


def _refusal(text: str) -> Verdict:
    """Return the verdict on an early talker: the reply that the operator wrote, or a pass."""
    refusal = refusal_of(text)
    return PASS if refusal is None else Verdict(replies.from_policy(*refusal, close=True))


def _greeting(text: str) -> Callable[[Reply], Reply] | None:
    """Return what makes the operator's greeting of the usual one; None if the operator wrote none."""
    lines = tuple(line.encode("ascii", "replace") for line in banner_lines(text))
    if not lines:
        return None
    own = Reply(220, lines)
    if not goes_on(text):
        return lambda _usual: own
    return lambda usual: Reply(220, (*lines, *usual.lines))


CONNTROL = PlainModule(SPEC, ConntrolValidator, mistakes=_mistakes)
