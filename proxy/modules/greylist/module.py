"""The module: it defers at RCPT TO, and mail of the null sender at the end of the message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from config.diagnostics import Diagnostic
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.counting.base import CountingUnavailable
from proxy.mail import replies
from proxy.mail.session import Path, Session
from proxy.mail.validator import Hook, OnError, Uses, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import Explained, Verdicts
from proxy.modules.greylist.functions import greylist
from proxy.modules.greylist.greylister import Greylister, Whitelists, seconds_left
from proxy.modules.greylist.options import SPEC, GreylistOptions
from proxy.modules.greylist.whitelists import read_clients, read_recipients
from proxy.modules.services import Services
from sieve.library import SieveFunction
from sieve.phases import Need, Phase
from sieve.run.patience import settled


class GreylistModule:
    """Prepares `greylist` stanzas."""

    spec: ModuleSpec = SPEC
    functions: Sequence[SieveFunction] = (greylist,)

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedGreylist:  # noqa: ARG002 - needs none
        """Read the stanza, and the files that it names."""
        return PreparedGreylist(loaded)


class PreparedGreylist:
    """One stanza."""

    def __init__(self, loaded: ModuleSettings) -> None:
        """Read the whitelists."""
        self._name, self._passive = loaded.name, loaded.passive
        self._options = cast(GreylistOptions, loaded.options)
        clients, wrong_clients = read_clients(loaded, "whitelist_clients")
        recipients, wrong_recipients = read_recipients(loaded, "whitelist_recipients")
        self._whitelists = Whitelists(clients, recipients)
        self.diagnostics: Sequence[Diagnostic] = (*wrong_clients, *wrong_recipients, *_mistakes(loaded))

    def validator(self, services: Services) -> Validator | None:
        """Offer the list to scripts; return the hooks, unless it is passive."""
        made = Greylister(self._name, self._options, self._whitelists, services.counting, services.resolver)
        services.greylists[self._name] = made
        return None if self._passive else GreylistValidator(self._name, self._options, made)


def _mistakes(loaded: ModuleSettings) -> tuple[Diagnostic, ...]:
    text = cast(GreylistOptions, loaded.options).text
    if text.startswith("4.") and text.count("%s") <= 1 and text.isascii() and text.isprintable():
        return ()
    return (
        Diagnostic(
            f"not the text of a deferral: {text}",
            loaded.origin("text") or loaded.span,
            hint='begin with an enhanced code of 4, write %s at most once: "4.7.1 Greylisted, try again in %s seconds"',
        ),
    )


class GreylistValidator:
    """The hooks of one stanza."""

    on_error = OnError.ACCEPT
    """Its own failure defers no mail."""

    deadline = 10.0
    """Seconds: a host name may have to be looked up."""

    uses = Uses(frozenset({"spf"}), frozenset({"client_name"}), asks_others=True)
    """It begins when all modules before it have passed: mail that is refused anyway is not an attempt."""

    def __init__(self, name: str, options: GreylistOptions, greylister: Greylister) -> None:
        """Decide with `greylister`."""
        self.name, self.shadow = name, options.shadow
        self._options, self._greylister = options, greylister

    def hooks(self) -> Mapping[Phase, Hook]:
        """Decide about each recipient; about the null sender at the end, or other sites' callbacks would fail."""
        return {Phase.RCPTTO: self._at_recipient, Phase.DATA: self._at_message}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 - the same in every phase
        """Read nothing of the message."""
        return Need.NOTHING

    async def explain(self, phase: Phase, session: Session, verdicts: Verdicts) -> Explained:  # noqa: ARG002 - as always
        """Say when it decides. It looks nothing up, because a look is an attempt."""
        if (phase is Phase.RCPTTO) is not bool(session.transaction.reverse_path.domain):
            return Explained("the null sender is decided at the end of the message")
        return Explained(
            f"greylisting: a first attempt is deferred for {self._options.delay:g} s",
            unknown=("whether this is the first attempt",),
        )

    async def _at_recipient(self, session: Session) -> Verdict:
        recipient = session.current_recipient
        if recipient is None or not session.transaction.reverse_path.domain:
            return PASS
        return await self._judged(session, (recipient.path,))

    async def _at_message(self, session: Session) -> Verdict:
        transaction = session.transaction
        if transaction.reverse_path.domain:
            return PASS
        return await self._judged(session, [each.path for each in transaction.recipients])

    async def _judged(self, session: Session, paths: Sequence[Path]) -> Verdict:
        try:
            wait = await settled(self._greylister.wait_for(session, paths))
        except CountingUnavailable:
            return Verdict(replies.INTERNAL.decided_by("on_store_error"))
        if not wait:
            return PASS
        text = self._options.text.replace("%s", seconds_left(wait))
        return Verdict(replies.from_policy(451, text))
