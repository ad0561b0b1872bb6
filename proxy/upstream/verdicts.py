"""Which upstream replies are about the mail; for everything else, the client gets 451.

A 5xx about our own session with the upstream says nothing about the client's mail, and neither does trouble on the way:
the sender keeps the message and retries. The distinction uses the code, the enhanced status code, the command, and whom
the text names. `tests/spec/relay/faults.txt` lists it case by case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from proxy.base.log import get_logger, printable
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Path, Session, Transaction
from proxy.outgoing import envelope
from proxy.outgoing.wire import Wire
from proxy.smtp.ports import RelayFailed
from proxy.upstream.client_words import Standing, has_address, is_of_client, names_us, spoken
from proxy.upstream.failures import Lost, PoolFull, RefusedUs, Unreachable

log = get_logger()

_ABOUT_US = frozenset({421, 500, 502, 503, *range(530, 539)})
"""Replies about our session (command order, authentication, server state), never about the mail."""

_SYNTAX = frozenset({501, 504, 555})
"""Replies to an argument or a parameter, which may be the client's or ours (RFC 5321 section 4.2.2)."""

_PARAMETERS = 555
"""About parameters of MAIL and RCPT (RFC 5321 section 4.1.1.11); elsewhere an ordinary refusal of the message."""

_TAKES_NO_MAIL = 521
"""The host accepts no mail at all (RFC 7504), but some servers refuse a recipient with it."""

_MAIL_SUBJECTS = frozenset({1, 2, 6, 7})
"""Addressing, mailbox, content and policy (RFC 3463 section 3): the subjects about mail."""

_ENHANCED = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})\b")
_UNQUALIFIED = re.compile(r"\bneed fully[ -]qualified (?:e-?mail )?address\b", re.IGNORECASE)


_HEARD: dict[type[Exception], Reply] = {
    Unreachable: replies.UPSTREAM_UNREACHABLE,
    RefusedUs: replies.UPSTREAM_REFUSED_US,
    PoolFull: replies.UPSTREAM_BUSY,
    Lost: replies.UPSTREAM_LOST,
}

TROUBLE = tuple(_HEARD)
"""Failures on the way, which are not about the mail."""


def heard_of(trouble: Exception) -> Reply:
    """Return the client's reply for trouble on the way: always 451."""
    return _HEARD[type(trouble)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply answers: the command as we sent it, whose bytes it had, and who we are to the upstream."""

    standing: Standing
    paths: tuple[Path, ...]
    """What the command was about; without a transaction, every path of the mail."""
    command: bytes = b""
    """MAIL or RCPT as we sent it, with the first of the paths; empty for any other command."""
    client: str = ""
    """The client's address."""
    transaction: Transaction | None = None

    @property
    def all_paths(self) -> tuple[Path, ...]:
        """Every path of the mail: the client's, and those that policy replaced them with."""
        return self.paths if self.transaction is None else (*self.paths, *paths_of(self.transaction))

    @property
    def is_the_clients(self) -> bool:
        """Whether the path and all parameters of the command are the client's bytes."""
        if not self.command:
            return False
        path = b"<%b>" % self.paths[0].raw
        _, found, given = self.paths[0].given.partition(path)
        _, _, said = self.command.partition(path)
        return bool(found) and set(given.upper().split()).issuperset(said.upper().split())


class Spoken(Protocol):
    """A connection to the upstream, as far as a reply on it is judged."""

    wire: Wire
    standing: Standing


def asked(connection: Spoken, session: Session, said: envelope.Said | None) -> Asked:
    """Return what a reply on a connection answers: MAIL or RCPT as it was `said`, or something else."""
    command = b"" if said is None else envelope.command(connection.wire, b"", *said)
    return Asked(connection.standing, (said or ())[:1], command, session.client_ip, session.transaction)


def paths_of(transaction: Transaction) -> list[Path]:
    """Return every path of a transaction, the client's and policy's."""
    recipients = transaction.recipients
    targets = [each.target for each in recipients if each.apart is not None and each.target is not None]
    senders = [transaction.reverse_path, transaction.given_reverse_path]
    return [*senders, *(each.path for each in recipients), *targets, *transaction.copies]


def is_about_mail(refusal: Reply, asked: Asked) -> bool:
    """Whether a refusal is about the mail, so that the client gets it word for word."""
    if refusal.code < 400 or refusal.code in _ABOUT_US:  # RFC 5321 section 4.2.1, first digit
        return False
    if not refusal.permanent:
        return True
    enhanced = _enhanced(refusal)
    text, standing = refusal.text, asked.standing
    # With a thousand recipients, looking for each of them in each refusal held up all sessions for 50 ms.
    if not (is_of_client(text, enhanced) or names_us(text, standing, ())):
        return _is_about_mail_by_code(refusal, enhanced, asked)
    paths = asked.all_paths
    text = spoken(text, [each.text for each in paths])
    if not standing.announced and names_us(text, standing, [each.domain for each in paths]):
        return False
    # A scanner behind the next hop that reads our Received field refers to the real client.
    if is_of_client(text, enhanced) and (standing.announced or not has_address(text, asked.client)):
        return standing.announced
    return _is_about_mail_by_code(refusal, enhanced, asked)


def _is_about_mail_by_code(refusal: Reply, enhanced: tuple[int, int] | None, asked: Asked) -> bool:
    """Judge a permanent refusal that is not about the client."""
    subject = enhanced[0] if enhanced is not None else None
    if refusal.code in _SYNTAX and (asked.command or refusal.code != _PARAMETERS):
        return subject == 1 or _UNQUALIFIED.search(refusal.text) is not None or asked.is_the_clients
    return refusal.code != _TAKES_NO_MAIL or subject in _MAIL_SUBJECTS


def _enhanced(reply: Reply) -> tuple[int, int] | None:
    """Return subject and detail of the first enhanced status code (RFC 3463), or None."""
    for line in reply.lines:
        if (found := _ENHANCED.match(line.decode("ascii", "replace"))) is not None:
            return int(found[1]), int(found[2])
    return None


def worst_of(refusals: Iterable[Reply]) -> Reply:
    """Return the client's reply to the refusal of several recipients: a temporary one if there is one, for a retry."""
    return min(refusals, key=lambda each: each.permanent)


def taken_by_some(paths: Sequence[Path], verdicts: Sequence[Reply], session: Session) -> Reply:
    """Return the reply of the first recipient that has the message, and note the others'.

    Raises RelayFailed if none has it.
    """
    taken = [each for each in verdicts if each.accepted]
    if not taken:
        raise RelayFailed(worst_of(verdicts))
    # The client gets 250, so the sender gets a report on the others, even if they are only deferred.
    of_each = zip(paths, verdicts, strict=False)
    note_refusals(session, {path.raw: each for path, each in of_each if not each.accepted})
    return taken[0]


def note_refusals(session: Session, refused: Mapping[bytes, Reply]) -> None:
    """If other recipients have the message, store the upstream's refusal with each refused recipient.

    A refused copy that policy added concerns only the operator, who finds it in the log.
    """
    recipients = session.transaction.recipients
    for recipient in recipients:
        if recipient.relayed and recipient.refusal is None:
            recipient.refusal = refused.get(recipient.destination.raw)
    for raw in refused.keys() - {each.destination.raw for each in recipients if each.relayed}:
        address = printable(raw.decode("utf-8", "surrogateescape"))
        log.warning("copy_refused", session=session.id, recipient=address, reply=printable(refused[raw].text))


def verdict_of(
    answer: Reply, connection: Spoken, session: Session, *, upstream: str, step: str, said: envelope.Said | None
) -> Reply:
    """Return a rejection unchanged if it is about the mail. If it is about us, return 451 and log an alarm."""
    if is_about_mail(answer, asked(connection, session, said)):
        return answer
    log.error(
        "upstream_refused_us",
        session=session.id,
        upstream=upstream,
        step=step,
        reply=printable(f"{answer.code} {answer.text}"),
    )
    return replies.UPSTREAM_REFUSED_US
