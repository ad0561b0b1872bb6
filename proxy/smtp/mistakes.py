"""A client's mistakes, counted for scripts by the names of Momentum's conntrol: unknown commands, and bad ones.

A bad command is one that we know, with bad syntax; one in the wrong order is neither.
"""

from __future__ import annotations

import re
from collections.abc import Container

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session

_BAD, _UNKNOWN = "conntrol_bad_commands", "conntrol_unrecognized_commands"
_WORD = re.compile(rb"[A-Za-z]{1,16}(?![A-Za-z0-9])")


def note_line(session: Session, line: bytes, known: Container[str]) -> None:
    """Count a line that is no command and an argument; `known` are the commands that there are."""
    word = _WORD.match(line)
    _note(session, _BAD if word is not None and word[0].decode().upper() in known else _UNKNOWN)


def note_unknown(session: Session) -> None:
    """Count a command that we do not have."""
    _note(session, _UNKNOWN)


def note_answer(session: Session, answer: Reply | None) -> None:
    """Count a command that we know, where the answer says that it was written wrong."""
    if answer in replies.SYNTAX_ERRORS:
        _note(session, _BAD)


def _note(session: Session, counter: str) -> None:
    session.context[counter] = str(int(session.context.get(counter, "0")) + 1)
