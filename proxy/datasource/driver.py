"""The interface of a driver: it opens connections, and a connection answers one query at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from proxy.datasource.parameters import Parameters
from proxy.datasource.rows import Rows


class Connection(Protocol):
    """One connection. The caller sets deadlines: a driver that is cancelled is then told to `abort`."""

    @property
    def is_usable(self) -> bool:
        """Whether another query may be sent, as far as can be seen without asking."""
        ...

    async def fetch(self, query: str, parameters: Parameters, most: int) -> Rows:
        """Return at most this many rows, all if negative.

        Raises:
            QueryFailed: the server refuses the query.
            ServerLost: the connection broke.
        """
        ...

    async def execute(self, query: str, parameters: Parameters) -> None:
        """Change something.

        Raises:
            QueryFailed, ServerLost: as in `fetch`.
        """
        ...

    async def abort(self) -> None:
        """End what runs at the server, and close. The caller limits the time."""
        ...

    async def close(self) -> None:
        """Close politely. The caller limits the time."""
        ...


Connect: TypeAlias = Callable[[], Awaitable[Connection]]
"""Makes a connection. Raises ServerLost."""
