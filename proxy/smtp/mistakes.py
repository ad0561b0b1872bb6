"""Counts a client's mistakes for scripts, under the names of Momentum's conntrol: unknown commands and bad commands.

A bad command is a known command with bad syntax. A command in the wrong order is neither.
"""

from __future__ import annotations

import re
from collections.abc import Container

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Session

_BAD, _UNKNOWN = "conntrol_bad_commands", "conntrol_unrecognized_commands"
_CODES = frozenset(each.code for each in replies.SYNTAX_ERRORS)
_WORD = re.compile(rb"[A-Za-z]{1,16}(?![A-Za-z0-9])")


def note_line(session: Session, line: bytes, known: Container[bytes]) -> None:
    """Count a line that is not a command with an argument. `known` are the existing commands."""
    word = _WORD.match(line)
    _note(session, _BAD if word is not None and word[0].upper() in known else _UNKNOWN)


def note_unknown(session: Session) -> None:
    """Count a command that we do not have."""
    _note(session, _UNKNOWN)


def note_answer(session: Session, answer: Reply | None) -> None:
    """Count a known command if the reply reports a syntax error."""
    if answer is not None and answer.code in _CODES and answer in replies.SYNTAX_ERRORS:
        _note(session, _BAD)


def _note(session: Session, counter: str) -> None:
    session.context[counter] = str(int(session.context.get(counter, "0")) + 1)
