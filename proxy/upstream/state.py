"""The stage of one transaction at the next hop. Everything that affects the state is in this module.

A `Passage` is moved by its methods, each one of the moves below; a move that the table does not have is a mistake in
our code, and raises KeyError with the stage and the move. There are three ways out, and each leaves the connection in
one condition: given back, it is between transactions; withdrawn, it is sent RSET; cut, nothing half-sent on it is
delivered.
"""

from __future__ import annotations

from enum import Enum, auto

from proxy.base.log import get_logger, printable
from proxy.mail.session import Path, Session
from proxy.metrics.book import BOOK
from proxy.metrics.table import UPSTREAM_ERRORS
from proxy.outgoing.content import OutgoingContent
from proxy.upstream.pool import PooledConnection

log = get_logger()


class Stage(Enum):
    """What the next hop knows of the transaction."""

    __hash__ = object.__hash__  # Enum's is written in Python, and would be called for every move

    NO_ENVELOPE = auto()
    """Nothing: the envelope was not sent yet, or its connection was given back or lost. It can be sent (again)."""
    ENVELOPE = auto()
    """A connection is ours, for sender and recipients."""
    CONTENT = auto()
    """The next hop takes the message."""
    COMMITTED = auto()
    """The dot is sent: it may have accepted the message."""
    ENDED = auto()
    """Nothing more can be sent: the message had its verdict, or was broken off."""


class Move(Enum):
    """What changes the stage."""

    __hash__ = object.__hash__

    OPEN = auto()
    GO_AHEAD = auto()
    DOT = auto()
    GIVE_BACK = auto()
    WITHDRAW = auto()
    CUT = auto()


# Looking a member up in its class costs a call in Python 3.11.
NO_ENVELOPE, ENVELOPE, CONTENT, COMMITTED, ENDED = Stage
_OPEN, _GO_AHEAD, _DOT, _GIVE_BACK, _WITHDRAW, _CUT = Move

HOLDING = frozenset({ENVELOPE, CONTENT, COMMITTED})
"""The stages in which the connection is ours."""

MOVES = {
    (NO_ENVELOPE, _OPEN): ENVELOPE,
    (ENVELOPE, _GO_AHEAD): CONTENT,
    (ENVELOPE, _GIVE_BACK): NO_ENVELOPE,
    (ENVELOPE, _WITHDRAW): NO_ENVELOPE,
    (ENVELOPE, _CUT): NO_ENVELOPE,
    (CONTENT, _DOT): COMMITTED,
    (CONTENT, _CUT): ENDED,
    (COMMITTED, _GIVE_BACK): ENDED,
    (COMMITTED, _CUT): ENDED,
}


class Passage:
    """One transaction at the next hop, and the connection that it has there."""

    __slots__ = ("_session", "connection", "content", "sender", "stage")

    connection: PooledConnection
    """Unset before the first envelope. In NO_ENVELOPE and ENDED it is the last one, and not ours: its replies are still
    judged."""
    content: OutgoingContent
    """The message being sent, in CONTENT and COMMITTED."""

    def __init__(self, session: Session) -> None:
        """Start with nothing sent. A connection with errors serves only this session from then on."""
        self._session = session
        self.stage = NO_ENVELOPE
        self.sender: Path | None = None
        """The sender that was sent to the next hop."""

    def open(self, connection: PooledConnection, sender: Path) -> None:
        """Take a connection, on which the envelope is about to be sent."""
        self.stage = MOVES[self.stage, _OPEN]
        self.connection, self.sender = connection, sender

    def go_ahead(self, content: OutgoingContent) -> None:
        """The next hop waits for the message."""
        self.stage = MOVES[self.stage, _GO_AHEAD]
        self.content = content

    def dot(self) -> None:
        """The end of the message is sent."""
        self.stage = MOVES[self.stage, _DOT]

    def refused(self) -> None:
        """The next hop refused a command or the message, and counts it as an error of the connection."""
        self.connection.errors += 1

    # ------------------------------------------------------------ ways out

    def give_back(self) -> None:
        """The next hop has nothing of the transaction open: let others have the connection, if it is error-free."""
        self.stage = MOVES[self.stage, _GIVE_BACK]
        connection = self.connection
        if connection.errors:
            connection.pool.keep_for(self._session, connection)
        else:
            connection.pool.give_back(connection)

    def withdraw(self) -> None:
        """End the open envelope, and keep the connection if it is error-free."""
        self.stage = MOVES[self.stage, _WITHDRAW]
        pool = self.connection.pool
        (pool.retire if self.connection.errors else pool.reset)(self.connection)

    def cut(self, why: str) -> None:
        """End the connection immediately: it is lost, or must not be used."""
        self.stage = MOVES[self.stage, _CUT]
        pool = self.connection.pool
        BOOK.counts[UPSTREAM_ERRORS.at(pool.number, "lost")] += 1
        log.warning("upstream_lost", session=self._session.id, upstream=pool.name, reason=printable(why))
        pool.drop(self.connection, why)
