"""The PROXY header that names the client to the next hop (the PROXY protocol's specification, version 2)."""

from __future__ import annotations

import ipaddress
import struct
from typing import Protocol

from config.base.ip import read_address

_PROXY = struct.Struct("!12sBBH")
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL_COMMAND, _PROXY_COMMAND = 0x20, 0x21
_UNSPECIFIED, _TCP_4, _TCP_6 = 0x00, 0x11, 0x21


class Ends(Protocol):
    """A session's two ends, each an address and a port."""

    @property
    def peer_address(self) -> tuple[str, int]:
        """The client's."""
        ...

    @property
    def local(self) -> tuple[str, int]:
        """Ours."""
        ...


def proxy_header(session: Ends | None) -> bytes:
    """Return a version 2 header that names the session's client; without a session, a LOCAL header."""
    if session is None:
        return _PROXY.pack(_SIGNATURE, _LOCAL_COMMAND, _UNSPECIFIED, 0)
    (client, client_port), (ours, our_port) = session.peer_address, session.local
    source, destination = read_address(client), read_address(ours)
    if destination.version != source.version:  # XCLIENT named a client of the other family, and not where it came to
        destination = ipaddress.ip_address("::" if source.version == 6 else "0.0.0.0")  # noqa: S104 — says "unknown"
    addresses = source.packed + destination.packed + struct.pack("!HH", client_port, our_port)
    family = _TCP_6 if source.version == 6 else _TCP_4
    return _PROXY.pack(_SIGNATURE, _PROXY_COMMAND, family, len(addresses)) + addresses
