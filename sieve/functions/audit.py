"""What came from a client or its network: series that scripts count, and what `inbound_audit` counts."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import lru_cache
from types import CoroutineType
from typing import Any

from config.base.ip import packed_address
from sieve.library import Hash, Soon, Value, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_text, as_whole
from sieve.shared import MOST_AMOUNT, SeriesName, Traffic

_MODULE = "inbound_audit"
_MONITOR = re.compile(r"([0-9]{1,9}) *, *([0-9]{1,5})")
_NETWORK = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Fa-f:.]{2,45}))?(?:/([0-9]{1,3}))?")
_MOST_WINDOWS = 10_000
_SERVICES = {"smtp": True, "inbound_cidr": True}
"""The services of Momentum that have clients here. The others have none."""
_OTHER_SERVICES = frozenset({"ecstream", "control", "ecmmove2", "eccluster"})


@lru_cache(maxsize=1024)
def monitor_of(text: str) -> tuple[int, int]:
    """Return seconds and number of windows of "interval,number".

    Raises:
        ScriptError: it has another form, or a zero.
    """
    found = _MONITOR.fullmatch(text)
    interval, number = (int(found[1]), int(found[2])) if found else (0, 0)
    if not interval or not 0 < number <= _MOST_WINDOWS:
        raise ScriptError(reasons.not_a_monitor(text))
    return interval, number


@dataclass(frozen=True, slots=True)
class _Windows:
    """Whose windows: of an address's network, from the newest to the oldest."""

    address: bytes
    mask: int
    first: int
    last: int


# ---------------------------------------------------------------- series


@sieve_function(module=_MODULE, checks={"monitor": monitor_of})
def audit_series_add(frame: Frame, series: Value, monitor: str = "", amount: int = 1) -> None:
    """Add to the client's count in the current window of a series; `"300,6"` is six windows of 300 seconds.

    Instead of these arguments, you can pass a hash with the keys `series`, `monitor`, `count` (default: 1), `ip`
    (default: the client's), and `serialize` (default: 0; 1 keeps the series across restarts). `replicate` does not
    matter: all workers and machines with the same Script_Store share the series.
    """
    given = _given(series, monitor, {"count": amount})
    name = _series_of(given)
    address = _address(frame, given)
    keep, added = bool(_whole(given, "serialize", 0)), _whole(given, "count", 1)
    if abs(added) > MOST_AMOUNT:
        raise ScriptError(reasons.number_out_of_range("audit_series_add"))
    frame.host.counters.add_to_series(name, address, added, keep=keep)


@sieve_function(module=_MODULE, checks={"monitor": monitor_of})
def audit_series(
    frame: Frame, series: Value, monitor: str = "", mask: int = -1, start: int = 0, end: int = -1
) -> Soon[int]:
    """Return the total added for the client's network in a series: in the current window (0), or in the windows given.

    Instead of these arguments, you can pass a hash with the keys `series`, `monitor`, `mask` (default: the whole
    address), `period_start` (default: 0), `period_end` (default: `period_start`), and `ip` (default: the client's).
    """
    given = _given(series, monitor, {"mask": mask, "period_start": start, "period_end": end})
    name = _series_of(given)
    windows = _windows(frame, given, name.number)
    return frame.host.counters.series(name, windows.address, windows.mask, windows.first, windows.last)


# ---------------------------------------------------------------- traffic


@sieve_function(module=_MODULE)
def ec_ip_connections(frame: Frame, monitor: Value, mask: int = -1) -> Soon[int]:
    """Return the number of connections from the client's network: `"0"` is the first monitor of `inbound_audit`.

    The number is smoothed: it is the current window, plus the previous window weighted by how much of it still counts.
    With a hash that has `monitor` (`"300,6"`), `period_start` (default: 0), `period_end` and `mask`, it is the plain
    sum of these windows.
    """
    return _traffic(frame, "connect", monitor, mask)


@sieve_function(module=_MODULE)
def ec_ip_receptions(frame: Frame, monitor: Value, mask: int = -1) -> Soon[int]:
    """Return the number of messages accepted from the client's network; see `ec_ip_connections`."""
    return _traffic(frame, "reception", monitor, mask)


@sieve_function(module=_MODULE)
def ec_ip_rejections(frame: Frame, monitor: Value, mask: int = -1) -> Soon[int]:
    """Return how many of the client network's commands and messages were refused by policy; see `ec_ip_connections`."""
    return _traffic(frame, "rejection", monitor, mask)


@sieve_function(module=_MODULE)
def ec_ip_connections_cluster(frame: Frame, monitor: Value, mask: int = -1) -> Soon[int]:
    """Return the number of connections from the client's network to all machines that share Script_Store."""
    return _traffic(frame, "connect", monitor, mask, cluster=True)


@sieve_function(module=_MODULE)
def ec_ip_receptions_cluster(frame: Frame, monitor: Value, mask: int = -1) -> Soon[int]:
    """Return how many messages all machines that share Script_Store accepted from the client's network."""
    return _traffic(frame, "reception", monitor, mask, cluster=True)


@sieve_function(module=_MODULE)
def ec_ip_rejections_cluster(frame: Frame, monitor: Value, mask: int = -1) -> Soon[int]:
    """Return what `ec_ip_rejections` counts, on all machines that share Script_Store."""
    return _traffic(frame, "rejection", monitor, mask, cluster=True)


def _traffic(frame: Frame, kind: str, monitor: Value, mask: int, *, cluster: bool = False) -> Soon[int]:
    monitors = frame.host.counters.monitors
    if isinstance(monitor, dict):
        asked = monitor_of(as_text(monitor["monitor"])) if "monitor" in monitor else (monitors or ((0, 0),))[0]
        if asked not in monitors:
            raise ScriptError(reasons.no_monitor(",".join(map(str, asked)), monitors))
        windows = _windows(frame, monitor, asked[1])
        wanted = Traffic(kind, asked, windows.first, windows.last, cluster=cluster)
    else:
        index = as_whole(monitor)
        if not 0 <= index < len(monitors):
            raise ScriptError(reasons.no_monitor(str(index), monitors))
        windows = _windows(frame, {"mask": mask}, 1)
        wanted = Traffic(kind, monitors[index], smooth=True, cluster=cluster)
    return frame.host.counters.traffic(wanted, windows.address, windows.mask)


# ---------------------------------------------------------------- open connections


@sieve_function(module=_MODULE)
def audit_connections_on_listener(frame: Frame, network: str) -> Soon[tuple[str, ...]]:
    """Return a list of one element: how many connections a network has open to this listener, this one included.

    The network is `"192.0.2.1/24"` or `"[2001:db8::1]/64"`; without an address, the client's: `"/24"`.
    """
    return _listed(frame.host.counters.connections(*_network(frame, network), listener=True))


@sieve_function(module=_MODULE)
def audit_connections_on_service(frame: Frame, network: str) -> Soon[tuple[str, ...]]:
    """Return how many connections a network has open to all listeners of this machine, as a list of one element."""
    return _listed(frame.host.counters.connections(*_network(frame, network), listener=False))


@sieve_function(module=_MODULE)
def audit_service(frame: Frame, service: str, network: str) -> Soon[tuple[str, ...]]:
    """Return how many connections a network has open to a service: `SMTP` or `inbound_cidr`; for any other, 0."""
    name = service.lower()
    if name in _OTHER_SERVICES:
        return ("0",)
    if name not in _SERVICES:
        raise ScriptError(reasons.no_service(service))
    return audit_connections_on_service.run(frame, network)  # type: ignore[no-any-return] # a function of this module


def _listed(found: Soon[int]) -> Soon[tuple[str, ...]]:
    return _awaited(found) if isinstance(found, CoroutineType) else (str(found),)


async def _awaited(found: Coroutine[Any, Any, int]) -> tuple[str, ...]:
    return (str(await found),)


# ---------------------------------------------------------------- arguments


def _given(series: Value, monitor: str, rest: dict[str, Value]) -> Hash:
    """Return the arguments by the names that they have in a hash."""
    return series if isinstance(series, dict) else {"series": as_text(series), "monitor": monitor, **rest}


def _series_of(given: Hash) -> SeriesName:
    name = as_text(given.get("series", ""))
    if not name:
        raise ScriptError(reasons.no_series())
    return SeriesName(name, *monitor_of(as_text(given.get("monitor", ""))))


def _whole(given: Hash, name: str, default: int) -> int:
    return as_whole(given[name]) if name in given else default


def _windows(frame: Frame, given: Hash, number: int) -> _Windows:
    address = _address(frame, given)
    first = _whole(given, "period_start", 0)
    last = _whole(given, "period_end", -1)
    last = first if last == -1 else last
    if not 0 <= first <= last < number:
        raise ScriptError(reasons.no_windows(first, last, number))
    return _Windows(address, _mask(address, _whole(given, "mask", -1)), first, last)


def _address(frame: Frame, given: Hash) -> bytes:
    return _packed(as_text(given["ip"]) if "ip" in given else frame.host.connection.client.address)


def _packed(text: str) -> bytes:
    try:
        return packed_address(text.strip("[]"))
    except ValueError:
        raise ScriptError(reasons.not_an_ip_address(text)) from None


def _network(frame: Frame, text: str) -> tuple[bytes, int]:
    found = _NETWORK.fullmatch(text.strip())
    if found is None:
        raise ScriptError(reasons.not_a_network(text))
    address = _packed(found[1] or found[2] or frame.host.connection.client.address)
    return address, _mask(address, int(found[3]) if found[3] else -1)


def _mask(address: bytes, mask: int) -> int:
    """Return a mask; the default is the whole address."""
    whole = 8 * len(address)
    if mask == -1:
        return whole
    if not 0 <= mask <= whole:
        raise ScriptError(reasons.no_mask(mask, whole))
    return mask
