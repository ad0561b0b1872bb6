"""The module: it waits in the connect phase and notes who spoke. The refusal itself is the front's, as without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from config.diagnostics import Diagnostic, Severity
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.conntrol.options import SPEC, ConntrolOptions
from proxy.modules.services import Services
from sieve.phases import Need, Phase

_GRACE_SECONDS = 5.0
_PATIENCE_SECONDS = 300.0


class ConntrolModule:
    """Prepares `conntrol` stanzas."""

    spec: ModuleSpec = SPEC

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedConntrol:  # noqa: ARG002 — needs none
        """Take the stanza; its options are checked already."""
        return PreparedConntrol(loaded)


def _mistakes(loaded: ModuleSettings) -> Iterator[Diagnostic]:
    pause = cast(ConntrolOptions, loaded.options).pause_time
    if pause >= _PATIENCE_SECONDS:
        yield Diagnostic(
            f"no client waits {pause:g} seconds for the greeting",
            loaded.origin("pause_time") or loaded.span,
            hint="write a few seconds; clients give up after five minutes (RFC 5321 section 4.5.3.2.1)",
            severity=Severity.WARNING,
        )


class PreparedConntrol:
    """One stanza."""

    def __init__(self, loaded: ModuleSettings) -> None:
        """Keep its options."""
        self.diagnostics: Sequence[Diagnostic] = tuple(_mistakes(loaded))
        self._name, self._passive = loaded.name, loaded.passive
        self._options = cast(ConntrolOptions, loaded.options)

    def validator(self, services: Services) -> Validator | None:  # noqa: ARG002 — it asks nobody
        """Return the pause; a passive module makes none."""
        return None if self._passive else ConntrolValidator(self._name, self._options)


class ConntrolValidator:
    """Waits before the greeting. Scripts of the connect phase that come after it can read early_talker."""

    on_error = OnError.ACCEPT
    """A pause that fails is no reason to turn anybody away."""

    def __init__(self, name: str, options: ConntrolOptions) -> None:
        """Take the options."""
        self.name = name
        self.deadline = options.pause_time + _GRACE_SECONDS
        self._pause = options.pause_time
        self._lets_talk = options.early_talker == "accept"

    def hooks(self) -> Mapping[Phase, Hook]:
        """Speak in the connect phase."""
        return {Phase.CONNECT: self._wait}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 — there is no content yet
        """Read nothing of the content."""
        return Need.NOTHING

    async def _wait(self, session: Session) -> Verdict:
        if not session.can_relay:
            session.may_talk_early = self._lets_talk
            if await session.speaks_within(self._pause):
                session.context["early_talker"] = "yes"
        return PASS
