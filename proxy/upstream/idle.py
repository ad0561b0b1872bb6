"""`Idle`: the connections of a pool that no transaction has, by age and by client. It opens and closes none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Kept(Protocol):
    """An idle connection."""

    @property
    def identity(self) -> tuple[object, ...]:
        """Identifies the client that was announced on it."""


C = TypeVar("C", bound=Kept)


class Idle(Generic[C]):
    """Idle connections. Neither giving nor taking one looks at the others: there may be thousands, one for a client."""

    __slots__ = ("_by_age", "_by_client")

    def __init__(self, *, tells_clients: bool) -> None:
        """`tells_clients`: connections have different identities."""
        self._by_age: dict[C, None] = {}
        self._by_client: dict[object, list[C]] | None = {} if tells_clients else None
        """By identity, or by the session if the connection is for one session only. The last one was used last."""

    def __len__(self) -> int:
        return len(self._by_age)

    def __iter__(self) -> Iterator[C]:
        """Yield them, longest idle first."""
        return iter(self._by_age)

    def add(self, connection: C) -> None:
        """Keep a connection."""
        self._by_age[connection] = None
        if self._by_client is not None:
            self._by_client.setdefault(_client(connection.identity), []).append(connection)

    def take(self, identity: tuple[object, ...]) -> C | None:
        """Return the connection with this identity that was used last. It may be broken."""
        if self._by_client is None:
            return self._by_age.popitem()[0] if self._by_age else None
        for connection in reversed(self._by_client.get(_client(identity), ())):
            if connection.identity == identity:
                self.remove(connection)
                return connection
        return None

    def remove(self, connection: C) -> None:
        """Keep a connection no longer."""
        del self._by_age[connection]
        if self._by_client is None:
            return
        client = _client(connection.identity)
        same = self._by_client[client]
        same.remove(connection)
        if not same:
            del self._by_client[client]

    def like(self, identity: tuple[object, ...]) -> list[C]:
        """Return the connections with this identity, or of its session."""
        return [] if self._by_client is None else list(self._by_client.get(_client(identity), ()))


def _client(identity: tuple[object, ...]) -> object:
    return (identity[0] or identity) if identity else identity
