"""The session's hooks of several modules, as one: the first module that decides wins, in the configuration's order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from proxy.base.log import get_logger
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session
from proxy.mail.validator import Validator
from proxy.smtp.pending import Answer, Pending
from proxy.smtp.ports import Client, HooksIntoSession, Proxied, SessionHooks

log = get_logger()

Asks = Callable[..., Awaitable[Reply | None]]
Fails = Callable[[Session, Exception], Awaitable[Reply]]


def hooks_of(validators: Iterable[Validator]) -> SessionHooks:
    """Return the hooks of all validators that have some."""
    found = [each.session_hooks() for each in validators if isinstance(each, HooksIntoSession)]
    return found[0] if len(found) == 1 else _joined(found)


def _joined(found: Sequence[SessionHooks]) -> SessionHooks:
    joined = _Joined(found)
    return SessionHooks(
        begin=joined.begin if any(each.begin for each in found) else None,
        end=joined.end if any(each.end for each in found) else None,
        helo=_first_of([each.helo for each in found]),
        ehlo=joined.ehlo if any(each.ehlo for each in found) else None,
        rset=_first_of([each.rset for each in found]),
        noop=_first_of([each.noop for each in found]),
        vrfy=_first_of([each.vrfy for each in found]),
        auth=_first_of([each.auth for each in found]),
        mechanisms={name: hook for each in reversed(found) for name, hook in each.mechanisms.items()},
        started_tls=joined.started_tls if any(each.started_tls for each in found) else None,
        proxied=joined.proxied if any(each.proxied for each in found) else None,
        failed=next((each.failed for each in found if each.failed is not None), None),
        taken=joined.taken if any(each.taken for each in found) else None,
        refused=joined.refused if any(each.refused for each in found) else None,
    )


def _first_of(hooks: Sequence[Asks | None]) -> Asks | None:
    """Return a hook that asks each until one decides; None without hooks."""
    asked = [hook for hook in hooks if hook is not None]
    if len(asked) < 2:
        return asked[0] if asked else None

    async def ask(*arguments: object) -> Reply | None:
        for hook in asked:
            if (reply := await hook(*arguments)) is not None:
                return reply
        return None

    return ask


def answer_to_failure(hooks: SessionHooks, session: Session, error: Exception) -> Answer:
    """Return the reply to our own failure, or the wait for a module's hook if there is one."""
    return replies.INTERNAL if hooks.failed is None else Pending(_reply_to_failure(hooks.failed, session, error))


async def _reply_to_failure(hook: Fails, session: Session, error: Exception) -> Reply:
    try:
        return await hook(session, error)
    except Exception as another:  # the hook is not asked about its own failure
        log.error("command_failed", session=session.id, command="", exc_info=another)
        return replies.INTERNAL


class _Joined:
    """The hooks that do not return a reply or None."""

    def __init__(self, found: Sequence[SessionHooks]) -> None:
        self._found = found

    def begin(self, session: Session, client: Client) -> None:
        for each in self._found:
            if each.begin is not None:
                each.begin(session, client)

    def end(self, session: Session) -> None:
        for each in self._found:
            if each.end is not None:
                each.end(session)

    def taken(self, session: Session) -> None:
        for each in self._found:
            if each.taken is not None:
                each.taken(session)

    def refused(self, session: Session, reply: Reply) -> None:
        for each in self._found:
            if each.refused is not None:
                each.refused(session, reply)

    async def ehlo(self, session: Session, name: str, lines: Sequence[str]) -> Reply | Sequence[str]:
        for each in self._found:
            if each.ehlo is not None:
                answer = await each.ehlo(session, name, lines)
                if isinstance(answer, Reply):
                    return answer
                lines = answer
        return lines

    async def started_tls(self, session: Session) -> bool:
        for each in self._found:
            if each.started_tls is not None and not await each.started_tls(session):
                return False
        return True

    async def proxied(self, session: Session, header: Proxied) -> bool:
        for each in self._found:
            if each.proxied is not None and not await each.proxied(session, header):
                return False
        return True
