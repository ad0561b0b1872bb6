"""Prevents mail loops, and answers to automatic mail: trace fields, and RFC 3834."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from proxy.mail.message import Message
from proxy.mail.session import Letter, Path, Session
from proxy.outbox.composing import received
from proxy.outbox.marks import Key, Mark, names
from sieve.message.addresses import mailboxes

_KEYWORD = re.compile(r"(?:\s|\([^()]*\))*([A-Za-z-]*)")
_ORIGINATORS = ("From", "Sender", "Reply-To")
_LONGEST_FIELD = 4096
_MOST_FIELDS = 4
"""Fields of one name that are read; a message may have one (RFC 5322 section 3.6)."""


def traced(letter: Letter, key: Key, before: Sequence[Mark], *, hostname: str, origin: str, now: float) -> Letter:
    """Return a letter with its trace fields on top: Received, its own mark, and its source message's marks."""
    mark = key.mark(origin, now, letter.recipients)
    fields = b"".join((received(hostname, origin, now), *(each.line for each in (mark, *before))))
    return replace(letter, content=fields + letter.content)


def unanswered(letters: Sequence[Letter], session: Session) -> list[Letter]:
    """Return the letters that an automatic message may cause. Auto-Submitted marks it (RFC 3834 section 2).

    Answers are dropped: messages that a script wrote, and forwards to the sender. A forward to other recipients is a
    copy and stays: one forged field must not switch off an archive.
    """
    message = session.transaction.message
    if message is None or not is_automatic(message):
        return list(letters)
    senders = _senders(session, message)
    kept = []
    for letter in letters:
        others = tuple(path for path in letter.recipients if not names((path,)) <= senders)
        if letter.purpose == "forward" and others:
            kept.append(replace(letter, recipients=others))
    return kept


def is_automatic(message: Message) -> bool:
    """Whether Auto-Submitted has any value other than `no`."""
    found = (_KEYWORD.match(body[:_LONGEST_FIELD]) for body in message.header("Auto-Submitted"))
    return any(each is None or each[1].lower() != "no" for each in found)


def _senders(session: Session, message: Message) -> frozenset[bytes]:
    """Return the addresses that an answer would go to."""
    bodies = [body[:_LONGEST_FIELD] for name in _ORIGINATORS for body in message.header(name)[:_MOST_FIELDS]]
    written = (address.rpartition("@") for body in bodies for _, address in mailboxes(body))
    paths = [Path(b"", local_part, domain) for local_part, _, domain in written]
    transaction = session.transaction
    return names((*paths, transaction.reverse_path, transaction.given_reverse_path))
