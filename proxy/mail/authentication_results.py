"""The field `Authentication-Results` (RFC 8601): one of ours for all evidence, and none that a stranger wrote as ours.

authres writes the field. A stranger's field is only looked at for the name of its author, in a bounded time.
"""

from __future__ import annotations

import re
from functools import lru_cache

import authres

from config.base.domains import normal_domain
from proxy.mail.evidence import Result, all_of, plain, plain_comment
from proxy.mail.message import Message
from proxy.mail.session import Session
from sieve.run.threads import ThreadPool, in_thread

FIELD = "Authentication-Results"

_LONGEST_PREFIX = 1000
"""Characters in which the name of a field's author has to be found: a line's limit in RFC 5322 section 2.1.1."""

_INLINE = 8 * 1024
"""Octets of such fields that are looked at on the event loop, in up to 0.8 ms."""

_END_OF_NAME = frozenset(" \t\r\n;(),/=<>@:[]?")
"""Characters that no token has (RFC 2045 section 5.1). A lenient reader may end a name there, so we do."""

_REMEMBERED = 256
"""Fields that are kept for messages with the same evidence. Each has some hundred octets."""

_GOES_ON = re.compile(r"[ \t\r\n]*[.\"]")
"""What may make a lenient reader continue a name."""

_ORDER = ("auth", "iprev", "spf", "sender-id", "dkim", "dmarc", "arc")
"""The methods in the order of our field; others follow."""


async def remove_forged(message: Message, own: str) -> None:
    """Remove the fields that claim to be ours, and those whose author cannot be read (RFC 8601 section 5).

    In a header section of 1 MiB this may take 100 ms: then it is done in a thread.
    """
    own = normal_domain(own)

    def remove() -> None:
        message.delete_where(FIELD, lambda body: author_of(body) in {own, None})

    if message.exceeds(_INLINE, FIELD):
        await in_thread(ThreadPool.CONTENT, remove)
    else:
        remove()


def publish(session: Session) -> None:
    """Write all evidence so far into our field at the top of the message, instead of what we wrote there before."""
    message = session.transaction.message
    if message is None:
        return
    own = session.options.results_name
    if message.results is not None:
        message.delete(message.results)
    found = all_of(session, session.transaction)
    if session.auth_user:
        found.append(Result("auth", "pass"))
    if found:
        found.sort(key=lambda each: _ORDER.index(each.method) if each.method in _ORDER else len(_ORDER))
        message.results = message.add_header(FIELD, written(own, tuple(found)), folded=True)


@lru_cache(maxsize=_REMEMBERED)
def written(own: str, found: tuple[Result, ...]) -> str:
    """Return the body of the field. The messages of a connection often have the same."""
    header = authres.AuthenticationResultsHeader(authserv_id=own, results=[_clause(each) for each in found])
    return str(header.header_value())


def _clause(result: Result) -> authres.AuthenticationResult:
    """Return a result for authres, which writes values with an `@` as they are: nothing foreign may be in them."""
    return authres.AuthenticationResult(
        result.method,
        result=result.value,
        result_comment=plain_comment(result.comment) or None,
        properties=[
            authres.AuthenticationResultProperty(each.kind, each.name, plain(each.value))
            for each in result.properties
            if each.value
        ],
    )


def author_of(body: str) -> str | None:
    """Return the authserv-id of a field, in lower case; None if it cannot be read."""
    prefix = body[:_LONGEST_PREFIX]
    at, length = 0, len(prefix)
    while True:
        while at < length and prefix[at] in " \t\r\n":
            at += 1
        if at == length:
            return None
        if prefix[at] != "(":
            return _name_at(prefix, at)
        if not (at := _after_comment(prefix, at)):
            return None


def _name_at(prefix: str, start: int) -> str | None:
    """Return the token or quoted string that begins here; None if it does not end."""
    if prefix[start] == '"':
        end, name = start + 1, ""
        while end < len(prefix) and prefix[end] != '"':
            end += prefix[end] == "\\"
            name += prefix[end : end + 1]
            end += 1
        return _legible(name, prefix[end + 1 :]) if end < len(prefix) else None
    end = start
    while end < len(prefix) and prefix[end] not in _END_OF_NAME:
        end += 1
    return _legible(prefix[start:end], prefix[end:]) if end < _LONGEST_PREFIX else None


def _legible(name: str, rest: str) -> str | None:
    """Return a name normalized. None if it is empty, has invisible characters, or may go on: `"mx".example.com`."""
    if not name or not name.isprintable() or _GOES_ON.match(rest):
        return None
    return normal_domain(name)


def _after_comment(prefix: str, at: int) -> int:
    """Return where a comment ends, with the comments in it; 0 if it does not end."""
    depth = 0
    while at < len(prefix):
        char = prefix[at]
        depth += (char == "(") - (char == ")")
        at += 1 + (char == "\\")
        if not depth:
            return at
    return 0
