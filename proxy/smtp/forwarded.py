"""Parses the PROXY header and the XCLIENT command, with which a proxy in front of us names its client.

This module only checks syntax. Whether a proxy is trusted is decided by its address before a byte is read. Sources: the
PROXY protocol's specification (versions 1 and 2), and Postfix's XCLIENT_README.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import struct
from dataclasses import dataclass, field

from config.base.ip import unmapped
from proxy.mail import replies
from proxy.mail.extensions import BY_KEYWORD
from proxy.mail.replies import Reply
from proxy.smtp.connection import ClientIdle, Connection

HEADER_SECONDS = 5.0
"""Time limit for the whole header. A load balancer sends it right after connecting."""

LONGEST_V1 = 107
"""Most octets of a version 1 header, including its line break."""

LONGEST_HEADER = 16 + 65_535
"""Most octets of a version 2 header: a fixed part, and as much as its length can say."""

_V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_V2_ADDRESSES = {0x11: struct.Struct("!4s4sHH"), 0x21: struct.Struct("!16s16sHH")}
"""Packed address formats of TCP over IPv4 and IPv6. Other transports are not used for SMTP."""

_V1_WORD = b"PROXY "
_V1 = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\r\n")
_HIGHEST_PORT = 65535

Address = tuple[str, int]


class BadProxyHeader(Exception):
    """A trusted proxy sent an invalid header. The reason is for the log."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header and its length. `client` and `local` are None if the proxy connects for itself."""

    octets: int
    client: Address | None = None
    local: Address | None = None
    version: int = field(default=1, compare=False)


async def read_proxy_header(connection: Connection) -> ProxyHeader:
    """Remove the header from the connection. Octets after it stay there.

    Raises:
        BadProxyHeader: it is malformed, names no TCP client, or did not come in HEADER_SECONDS.
        ClientGone, Draining: as `Connection.more`.
    """
    deadline = asyncio.get_running_loop().time() + HEADER_SECONDS
    connection.high_water = LONGEST_HEADER  # below it, reading would pause before the header is complete
    while (header := proxy_header(connection.buffer)) is None:
        try:
            await connection.more(deadline, interruptible=True)
        except ClientIdle:
            raise BadProxyHeader("timeout") from None
    connection.consume(header.octets)
    return header


def proxy_header(received: bytes | bytearray) -> ProxyHeader | None:
    """Return the header at the start of the octets, or None if it is not complete yet.

    Raises:
        BadProxyHeader: it is malformed, or names no TCP client.
    """
    if _begins(received, _V2_SIGNATURE):
        return _version_2(received)
    if _begins(received, _V1_WORD):
        return _version_1(received)
    raise BadProxyHeader("no header")


def _begins(received: bytes | bytearray, signature: bytes) -> bool:
    """Whether the bytes are, or may become, the start of a header with the signature."""
    return received[: len(signature)] == signature[: len(received)]


def _version_1(received: bytes | bytearray) -> ProxyHeader | None:
    end = received.find(b"\r\n", 0, LONGEST_V1)
    if end < 0:
        if len(received) >= LONGEST_V1:
            raise BadProxyHeader("line too long")
        return None
    found = _V1.fullmatch(received[: end + 2])
    if found is None:
        raise BadProxyHeader("malformed line")
    version, source, destination, source_port, destination_port = (each.decode() for each in found.groups())
    addresses = _ip(source, version), _ip(destination, version)
    ports = int(source_port), int(destination_port)
    if None in addresses or max(ports) > _HIGHEST_PORT:
        raise BadProxyHeader("malformed line")
    return ProxyHeader(end + 2, (addresses[0] or "", ports[0]), (addresses[1] or "", ports[1]))


def _version_2(received: bytes | bytearray) -> ProxyHeader | None:
    if len(received) < _V2_FIXED:
        return None
    command, family, length = struct.unpack_from("!BBH", received, len(_V2_SIGNATURE))
    if command not in {_V2_LOCAL, _V2_PROXY}:
        raise BadProxyHeader("unknown version or command")
    packed = _V2_ADDRESSES.get(family)
    if command == _V2_PROXY and (packed is None or length < packed.size):
        raise BadProxyHeader("no TCP addresses")
    if len(received) < _V2_FIXED + length:
        return None
    if command == _V2_LOCAL or packed is None:
        return ProxyHeader(_V2_FIXED + length, version=2)
    source, destination, source_port, destination_port = packed.unpack_from(received, _V2_FIXED)
    return ProxyHeader(
        _V2_FIXED + length,
        (str(unmapped(ipaddress.ip_address(source))), source_port),
        (str(unmapped(ipaddress.ip_address(destination))), destination_port),
        version=2,
    )


def _ip(text: str, version: str) -> str | None:
    """Return an address of the IP version in its plain form, or None."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A zone is only valid on the machine that wrote it; here it would mean another link, or nothing.
    return str(unmapped(found)) if str(found.version) == version and "%" not in text else None


# ---------------------------------------------------------------- XCLIENT

_KNOWN = frozenset(BY_KEYWORD["XCLIENT"].words)
_LONGEST_VALUE = 255
_UNKNOWN = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]"})
_XTEXT = re.compile(rb"(?:[!-*,-<>-~]|\+[0-9A-Fa-f]{2})+")
_HEX = re.compile(rb"\+([0-9A-Fa-f]{2})")
_NUMBER = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Introduction:
    """The attributes of one XCLIENT; None if not given. A name that the proxy does not know is "unknown"."""

    address: str | None = None
    port: int | None = None
    name: str | None = None
    helo: str | None = None
    extended: bool | None = None
    login: str | None = None
    local_address: str | None = None
    local_port: int | None = None

    def client(self, before: Address) -> Address:
        """Return the client's address and port. An earlier client's port is not kept for a new address."""
        if self.address is None:
            return before[0], before[1] if self.port is None else self.port
        return self.address, self.port or 0

    def local(self, before: Address) -> Address:
        """Return our own address and port, as the client sees them."""
        return self.local_address or before[0], before[1] if self.local_port is None else self.local_port


def introduction_of(argument: bytes) -> Introduction | Reply:
    """Parse XCLIENT's argument, or return why it is rejected."""
    words = argument.split()
    if not words:
        return replies.XCLIENT_SYNTAX
    told: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition(b"=")
        name = key.upper().decode("ascii", "replace")
        text = _decoded(value)
        if not equals or name not in _KNOWN or name in told or text is None:
            return replies.XCLIENT_SYNTAX
        if not text.isascii() and name != "LOGIN":
            return replies.XCLIENT_SYNTAX
        told[name] = text
    try:
        return _introduction(told)
    except ValueError:
        return replies.XCLIENT_SYNTAX


def _decoded(value: bytes) -> str | None:
    """Decode an attribute's value from xtext (RFC 3461 section 4); None if it is too long or not printable."""
    if _XTEXT.fullmatch(value) is None:
        return None
    octets = _HEX.sub(lambda found: bytes((int(found[1], 16),)), value)
    if len(octets) > _LONGEST_VALUE:
        return None
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def _introduction(told: dict[str, str]) -> Introduction:
    """Convert the attributes to their types. Raises ValueError for an invalid value."""
    known = {name: value for name, value in told.items() if value.upper() not in _UNKNOWN}
    if "ADDR" in told and "ADDR" not in known:
        # Without an address we would trust the client as if it were the proxy.
        raise ValueError
    protocol = known.get("PROTO", "").upper()
    if protocol not in {"", "SMTP", "ESMTP"}:
        raise ValueError
    return Introduction(
        address=_address(known.get("ADDR")),
        port=_port(known.get("PORT")),
        name=known.get("NAME", "unknown") if "NAME" in told else None,
        helo=known.get("HELO"),
        extended=protocol == "ESMTP" if protocol else None,
        login=known.get("LOGIN"),
        local_address=_address(known.get("DESTADDR")),
        local_port=_port(known.get("DESTPORT")),
    )


def _address(text: str | None) -> str | None:
    if text is None:
        return None
    six = text.upper().startswith("IPV6:")
    found = _ip(text[5:] if six else text, "6" if six or ":" in text else "4")
    if found is None:
        raise ValueError
    return found


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None or int(text) > _HIGHEST_PORT:
        raise ValueError
    return int(text)
