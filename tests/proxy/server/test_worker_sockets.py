"""The sockets of several workers: one for each worker and address, kept for as long as the address is configured."""

from __future__ import annotations

import socket

import pytest

from config.scopes.listener import Listener
from proxy.server.sockets import CannotListen, WorkerSockets
from tests.support.programs import free_port


def listener(port: int = 0, **parts: bool) -> Listener:
    return Listener("127.0.0.1", port, **parts)


def ports(sockets: WorkerSockets, worker: int) -> list[int]:
    return [each.getsockname()[1] for each, _ in sockets.of(worker)]


def test_each_worker_has_a_socket_of_its_own_for_each_address() -> None:
    port, other = free_port(), free_port()
    sockets = WorkerSockets.bind([listener(port), listener(other)], 2)
    assert ports(sockets, 1) == ports(sockets, 2) == [port, other]
    assert len(set(sockets)) == 4
    sockets.close()


def test_a_listener_that_is_switched_off_has_no_sockets() -> None:
    assert WorkerSockets.bind([listener(enabled=False)], 2).of(1) == []


def test_a_port_that_the_system_chooses_is_the_same_for_every_worker() -> None:
    sockets = WorkerSockets.bind([listener(0)], 3)
    assert ports(sockets, 1) == ports(sockets, 2) == ports(sockets, 3)
    sockets.close()


def test_nobody_is_let_in_before_a_worker_listens() -> None:
    sockets = WorkerSockets.bind([listener(0)], 2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ports(sockets, 1)[0]))
    sockets.close()


def test_a_successor_has_the_same_sockets_and_fewer_workers_serve_all_of_them() -> None:
    port = free_port()
    before = WorkerSockets.bind([listener(port)], 3)
    after = WorkerSockets.bind([listener(port)], 2, before)
    assert set(after) == set(before)
    assert [len(after.of(worker)) for worker in (1, 2)] == [2, 1]
    before.close(keep=after)
    assert ports(after, 1) == [port, port]
    after.close()


def test_what_the_successor_does_not_have_is_closed() -> None:
    before = WorkerSockets.bind([listener(free_port())], 2)
    held = list(before)
    after = WorkerSockets.bind([listener(free_port())], 2, before)
    before.close(keep=after)
    assert [each.fileno() for each in held] == [-1, -1]
    after.close()


def test_an_address_where_another_server_listens_is_refused_even_if_that_shares_it() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}: Address already in use"):
            WorkerSockets.bind([listener(port)], 2)


def test_an_address_that_cannot_be_bound_leaves_the_predecessors_sockets_open() -> None:
    port = free_port()
    before = WorkerSockets.bind([listener(port)], 2)
    with pytest.raises(CannotListen, match="Listed twice"):
        WorkerSockets.bind([listener(port), listener(port)], 2, before)
    assert ports(before, 1) == [port]
    before.close()
