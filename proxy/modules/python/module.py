"""The module: it hooks a handler into the phases of a session, and into other commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, cast

from config.diagnostics import Diagnostic, Severity
from config.schema.specs import ModuleSpec
from config.settings import ModuleSettings
from proxy.history.asked import asked_by
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError, Validator
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.python.facade import options_of, written
from proxy.modules.python.handler import Caller, Hooks
from proxy.modules.python.loading import HandlerUnusable, load
from proxy.modules.python.options import SPEC, PythonOptions
from proxy.modules.python.sessions import hooks_of
from proxy.modules.services import Services
from proxy.smtp.ports import SessionHooks
from sieve.library import SieveFunction
from sieve.phases import Need, Phase

T = TypeVar("T")


class PythonModule:
    """Prepares `python` stanzas."""

    spec: ModuleSpec = SPEC
    functions: Sequence[SieveFunction] = ()

    def prepare(self, loaded: ModuleSettings, present: frozenset[str]) -> PreparedPython:  # noqa: ARG002 — needs none
        """Take the stanza. Nothing is imported: the supervisor never runs the site's code."""
        return PreparedPython(loaded)


class PreparedPython:
    """One stanza. A process that needs its handler makes one."""

    diagnostics: Sequence[Diagnostic] = ()

    def __init__(self, loaded: ModuleSettings) -> None:
        """Keep its options."""
        self._loaded = loaded
        self._options = cast(PythonOptions, loaded.options)
        self._hooks: Hooks | None = None

    def outside(self) -> Iterator[Diagnostic]:
        """Import the handler and make it; yield what is wrong with it."""
        try:
            hooks = self._found()
        except HandlerUnusable as unusable:
            origin = self._loaded.origin(unusable.option) or self._loaded.origin("handler") or self._loaded.span
            yield Diagnostic(f"{self._loaded.name}: {unusable}", origin, hint=unusable.hint)
            return
        handler = self._loaded.origin("handler")
        for name in hooks.uncalled:
            yield Diagnostic(f"{name} is never called", handler, "Ringback has no such hook", Severity.WARNING)
        if not hooks.named and not hooks.mechanisms:
            hint = "its methods need aiosmtpd's names, such as handle_RCPT"
            yield Diagnostic("the handler has no hook", handler, hint, Severity.WARNING)

    @property
    def reads_body(self) -> bool:
        """Whether a hook may read whole messages."""
        return not self._loaded.passive and (self._hooks is None or "DATA" in self._hooks.named)

    def validator(self, services: Services) -> Validator | None:
        """Return the hooks of a worker. Raises HandlerUnusable if the handler has changed since the rehearsal."""
        if self._loaded.passive:
            return None
        records = services.settings.history_answers
        return PythonValidator(self._loaded.name, self._options, self._found(), records=records)

    def _found(self) -> Hooks:
        if self._hooks is None:
            self._hooks = Hooks(load(self._options.handler, self._options.path))
        return self._hooks


class PythonValidator:
    """Asks the handler in the phases that its hooks belong to."""

    on_error = OnError.DEFER

    def __init__(self, name: str, options: PythonOptions, hooks: Hooks, *, records: bool = False) -> None:
        """Take the handler's hooks. `records` is History_Answers: what a hook wants may differ each time."""
        self.name, self.deadline, self._records = name, options.timeout, records
        self._caller = Caller(name, hooks, options.threads)

    def hooks(self) -> Mapping[Phase, Hook]:
        """Ask about the sender, recipients and the message, if there are hooks for them."""
        all_hooks: Mapping[str, tuple[Phase, Hook]] = {
            "MAIL": (Phase.MAILFROM, self._mail),
            "RCPT": (Phase.RCPTTO, self._rcpt),
            "DATA": (Phase.DATA, self._data),
        }
        named = self._caller.hooks.named
        return {phase: hook for name, (phase, hook) in all_hooks.items() if name in named}

    def needs(self, phase: Phase) -> Need:
        """Read the message at its end."""
        return Need.HEADERS | Need.BODY if phase is Phase.DATA else Need.NOTHING

    def session_hooks(self) -> SessionHooks:
        """Return the hooks that belong to no phase."""
        return hooks_of(self._caller, self.deadline)

    async def _mail(self, session: Session) -> Verdict:
        transaction = session.transaction
        address, options = written(transaction.reverse_path), options_of(transaction.parameters)
        reply = await self._caller.reply("MAIL", session, address, options, sender=False)
        return self._verdict(session, Phase.MAILFROM, reply)

    async def _rcpt(self, session: Session) -> Verdict:
        recipient = session.current_recipient
        if recipient is None:
            return PASS
        address, options = written(recipient.path), options_of(recipient.parameters)
        return self._verdict(session, Phase.RCPTTO, await self._caller.reply("RCPT", session, address, options))

    async def _data(self, session: Session) -> Verdict:
        message = session.transaction.message
        if message is None:
            return PASS
        caller = self._caller
        server = caller.server(session)
        server.refresh(session)
        server.envelope.content = server.envelope.original_content = await message.raw()
        try:
            return self._verdict(session, Phase.DATA, await caller.reply("DATA", session))
        finally:
            server.forget()

    def _verdict(self, session: Session, phase: Phase, reply: Reply | None) -> Verdict:
        if self._records:
            wanted = "" if reply is None else f"{reply.code} {reply.text}"
            asked_by(session, phase).note("handler", self.name, wanted)
        return PASS if reply is None else Verdict(reply)
