"""MAIL and RCPT arguments, read on bytes by the grammar of RFC 5321 section 4.1.2 (RFC 6531 for UTF-8).

Nearly every address has the plain form local-part@domain: one compiled expression takes it (measured: 1 µs, the email
package's parser needs 50). What it does not take goes to the full grammar: quoted local parts, address literals, UTF-8,
source routes (stripped: the final domain is the one that is judged).
"""

from __future__ import annotations

import ipaddress
import re

from proxy.session import NULL_PATH, Path

_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_PLAIN = re.compile(
    rb"<([%b][%b.]{0,255})@([A-Za-z0-9](?:[A-Za-z0-9.-]{0,253}[A-Za-z0-9])?)>(?:[ \t]+(.*))?" % (_ATEXT, _ATEXT)
)
_PATH = re.compile(rb'<((?:[^<>"\\]|"(?:[^"\\]|\\.)*")*)>(?:[ \t]+(.*))?')
_ROUTE = re.compile(rb"@[^,:@\s]+(?:,@[^,:@\s]+)*:")
_MAILBOX = re.compile(
    rb"""((?:[%b\x80-\xff]+(?:\.[%b\x80-\xff]+)*)      # dot-string
        |"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*")  # quoted string
        @(.+)"""
    % (_ATEXT, _ATEXT),
    re.VERBOSE,
)
_LABEL = re.compile(r"[^\W_](?:[\w-]*[^\W_])?", re.UNICODE)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?")

LONGEST_PATH = 512
"""Octets of a path; RFC 5321 section 4.5.3.1.3 asks for 256, UTF-8 addresses may be longer."""


class BadPath(Exception):
    """The argument is not a path."""


class BadUtf8(BadPath):
    """The argument is not even text."""


class BadParameter(Exception):
    """The argument's parameters are malformed or given twice."""


def parse_argument(argument: bytes, keyword: bytes, *, default_domain: str = "") -> tuple[Path, dict[str, str | None]]:
    """Read `FROM:<path> parameters` (or `TO:`); the keyword is given in capitals.

    A local part alone is read as one of `default_domain` where that is set.

    Raises:
        BadPath: the path is malformed, or the keyword is not there; BadUtf8 where it is no text.
        BadParameter: a parameter is malformed or given twice.
    """
    if argument[: len(keyword)].upper() != keyword:
        raise BadPath
    rest = argument[len(keyword) :].lstrip(b" ")
    if (plain := _PLAIN.fullmatch(rest)) is not None and _is_plain(plain[1], plain[2]):
        local_part, domain = plain[1], plain[2]
        parameters = plain[3]
        path = Path(b"%b@%b" % (local_part, domain), local_part.decode(), domain.decode())
    else:
        _check_utf8(rest)
        path, parameters = _by_the_grammar(rest, default_domain)
    return path, _parameters(parameters) if parameters else {}


def _check_utf8(argument: bytes) -> None:
    try:
        argument.decode()
    except UnicodeDecodeError:
        raise BadUtf8 from None


def _is_plain(local_part: bytes, domain: bytes) -> bool:
    """Leave the doubtful to the grammar: a dot at the end or twice in a row, a hyphen at a label's end."""
    return (
        local_part[-1:] != b"."
        and b".." not in local_part
        and b".." not in domain
        and b".-" not in domain
        and b"-." not in domain
    )


def _by_the_grammar(rest: bytes, default_domain: str) -> tuple[Path, bytes]:
    match = _PATH.fullmatch(rest)
    if match is None or len(match[1]) > LONGEST_PATH:
        raise BadPath
    inner: bytes = match[1]
    if not inner:
        return NULL_PATH, match[2] or b""
    if inner.lower() == b"postmaster":
        # RFC 5321 section 4.1.1.3: accepted without a domain, whatever the case
        return Path(inner, inner.decode(), ""), match[2] or b""
    if default_domain and b"@" not in inner:
        inner += b"@" + default_domain.encode()
    route = _ROUTE.match(inner)
    return _mailbox(inner[route.end() :] if route else inner), match[2] or b""


def _mailbox(raw: bytes) -> Path:
    match = _MAILBOX.fullmatch(raw)
    if match is None:
        raise BadPath
    try:
        local_part, domain = match[1].decode(), match[2].decode()
    except UnicodeDecodeError:
        raise BadPath from None
    if not (_is_literal(domain) if domain.startswith("[") else _is_domain(domain)):
        raise BadPath
    return Path(raw, local_part, domain)


def _is_literal(text: str) -> bool:
    """Judge an address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
    inner = text[1:-1]
    if "%" in inner:  # ipaddress takes a zone, which names an interface of some machine
        return False
    try:
        if inner[:5].lower() == "ipv6:":
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        return False
    return text.endswith("]")


def _is_domain(text: str) -> bool:
    return len(text) <= 255 and all(_LABEL.fullmatch(label) for label in text.split("."))  # RFC 5321 4.5.3.1.2


def _parameters(raw: bytes) -> dict[str, str | None]:
    """Read `KEYWORD[=value] …`; keywords in capitals, values as they came (ENVID is case-sensitive)."""
    found: dict[str, str | None] = {}
    try:
        words = [word for word in raw.decode().replace("\t", " ").split(" ") if word]
    except UnicodeDecodeError:
        raise BadParameter from None
    for word in words:
        match = _PARAMETER.fullmatch(word)
        if match is None or match[1].upper() in found:
            raise BadParameter
        found[match[1].upper()] = match[2]
    return found
