"""What this process counts alone while the keeper or Redis does not answer, and which places it has."""

from __future__ import annotations

from typing import TypeVar

from proxy.base.log import get_logger
from proxy.counting.base import CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Greylist, Hold, Lease, Leased, Operation, Return

log = get_logger()

A = TypeVar("A")


class Meanwhile:
    """The counting of one process, and how often it was needed. The event loop's thread owns its state."""

    def __init__(self, *, name: str, defers: bool, counting: MemoryCounting | None = None) -> None:
        """`name` says in the log whose part this takes; `defers` is `on_store_error = defer`."""
        self.counting = counting or MemoryCounting()
        self._name, self._defers = name, defers
        self._operations = 0

    def ask(self, operation: Operation[A], reason: str) -> A:
        """Perform an operation here.

        Raises:
            CountingUnavailable: `on_store_error` forbids that, and the operation would permit something. Or it is an
                attempt for greylisting: what this process has not seen, others may have.
        """
        if not self._operations:
            log.warning("counting_alone", store=self._name, reason=reason)
        self._operations += 1
        if isinstance(operation, Greylist) or (self._defers and not isinstance(operation, Return | Hold)):
            raise CountingUnavailable
        return self.counting.ask(operation)

    def over(self) -> None:
        """The keeper or Redis answers again."""
        if self._operations:
            log.info("counting_together", store=self._name, operations=self._operations)
            self._operations = 0

    def note(self, operation: Operation[A], answer: A, owner: str) -> None:
        """Keep in mind which places were leased elsewhere."""
        if isinstance(operation, Lease) and isinstance(answer, Leased) and answer.full < 0:
            self.counting.leases.lease(owner, [(key, 0) for key, _ in operation.places])
        elif isinstance(operation, Return):
            self.counting.leases.give_back(owner, operation.keys)
        elif isinstance(operation, Hold):
            self.counting.leases.hold(owner, operation.held)
