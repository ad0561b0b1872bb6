"""Idle connections: the right one is found, whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.upstream.identity import NOBODY, Identity
from proxy.upstream.idle import Idle

COUNT = 1000


class Compared(str):
    """A word of an identity; comparisons are counted."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


@dataclass(eq=False)
class Connection:
    identity: Identity = NOBODY


def kept(*connections: Connection, tells_clients: bool = True) -> Idle[Connection]:
    idle: Idle[Connection] = Idle(tells_clients=tells_clients)
    for each in connections:
        idle.add(each)
    return idle


def shared(address: str) -> Identity:
    """Return the identity of a client whose sessions share connections."""
    return ("", Compared(address), Compared("helo.test"))


def test_finding_one_of_a_thousand_clients_compares_few() -> None:
    idle = kept(*(Connection(shared(f"192.0.2.{each}")) for each in range(COUNT)))
    Compared.times = 0
    found = idle.take(shared("192.0.2.500"))
    assert found is not None
    idle.add(found)
    assert idle.take(shared("198.51.100.1")) is None
    assert Compared.times <= 20
    assert len(idle) == COUNT


def test_the_last_used_of_a_client_is_taken_and_the_longest_idle_is_first() -> None:
    first, second, other = Connection(shared("192.0.2.1")), Connection(shared("192.0.2.1")), Connection()
    idle = kept(first, other, second)
    assert idle.take(shared("192.0.2.1")) is second
    assert list(idle) == [first, other]
    assert idle.take(NOBODY) is other
    assert idle.take(NOBODY) is None
    idle.remove(first)
    assert not list(idle)


def test_a_session_has_the_connections_of_all_its_names_but_takes_only_that_of_the_present() -> None:
    old, new = Connection(("s1", "192.0.2.1", "old.test")), Connection(("s1", "192.0.2.1", "new.test"))
    idle = kept(old, Connection(("s2", "192.0.2.1", "old.test")), new)
    assert idle.like(("s1",)) == [old, new]
    assert idle.take(("s1", "192.0.2.1", "old.test")) is old
    assert idle.take(("s1", "192.0.2.1", "old.test")) is None
    assert idle.like(("s1",)) == [new]


def test_where_nobody_is_told_of_clients_the_last_used_is_taken() -> None:
    first, last = Connection(), Connection()
    idle = kept(first, last, tells_clients=False)
    assert idle.take(NOBODY) is last
    assert list(idle) == [first]
    assert idle.take(NOBODY) is first
    assert idle.take(NOBODY) is None
