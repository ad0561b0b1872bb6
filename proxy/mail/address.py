"""Parse MAIL and RCPT arguments as bytes by the grammar of RFC 5321 section 4.1.2 (RFC 6531 for UTF-8).

Nearly every address has the plain form local-part@domain, which one compiled expression matches (measured: 1 µs; the
email package's parser needs 50). The full grammar parses the rest: quoted local parts, address literals, UTF-8, and
source routes (stripped: only the final domain counts).

If a client breaks the grammar but the address is clear, it is repaired: `Path.raw` always conforms to RFC 5321.
`strict` rejects such addresses instead.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

from config.base.domains import LONGEST_DOMAIN, a_labels, normal_domain
from proxy.mail.session import NULL_PATH, Path
from sieve.message.spelling import canonical_local_part, spoken_local_part

_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_PLAIN = re.compile(
    rb"(?=<[^@]{1,256}@[^>]{1,255}>)"
    rb"<([%b]+(?:\.[%b]+)*)@([A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*(?:\.[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*)*)>(?:[ \t]+(.*))?"
    % (_ATEXT, _ATEXT)
)
_PATH = re.compile(rb'<((?:[^<>"\\]|"(?:[^"\\]|\\.)*")*)>(?:[ \t]+(.*))?')
_WITHOUT_BRACKETS = re.compile(rb"([%b.]+@[A-Za-z0-9._-]+)(?:[ \t]+(.*))?" % _ATEXT)
_ROUTE = re.compile(rb"@[^,:@\s]+(?:,@[^,:@\s]+)*:")
_LOCAL_PART = re.compile(
    rb"""[%b.\x80-\xff]+                                        # dot-string, or nearly
        |"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*"  # quoted string"""
    % _ATEXT,
    re.VERBOSE,
)
_LABEL = re.compile(r"[^\W_](?:[\w-]*[^\W_])?", re.UNICODE)
_ASCII_LABEL = re.compile(r"\w(?:[\w-]*\w)?", re.ASCII)
_STRICT_LABEL = re.compile(r"[^\W_](?:[^\W_]|-+(?=[^\W_]))*", re.ASCII)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\U0010ffff]+))?")
_XTEXT_PARAMETER = re.compile(r"(ENVID|ORCPT)=([!-~\x80-\U0010ffff]+)", re.IGNORECASE)
"""Parameters with encoded values, in which some clients forget to encode `=` (RFC 3461 section 4)."""

LONGEST_PATH = 512
"""Octets of a path; RFC 5321 section 4.5.3.1.3 asks for 256, UTF-8 addresses may be longer."""


_MOST_KNOWN = 1024
_known: dict[bytes, str] = {}
"""Plain domains in lower case, as they were written."""


class BadPath(Exception):
    """The argument is not a path."""


class BadUtf8(BadPath):
    """The argument is not even text."""


class BadParameter(Exception):
    """The argument's parameters are malformed or given twice."""


def parse_argument(
    argument: bytes, keyword: bytes, *, default_domain: str = "", strict: bool = False
) -> tuple[Path, dict[str, str | None]]:
    """Read `FROM:<path> parameters` (or `TO:`); the keyword is given in capitals.

    A bare local part gets `default_domain` if that is set. `strict` accepts only RFC 5321 syntax.

    Raises:
        BadPath: the path is malformed, or the keyword is missing; BadUtf8 if it is not UTF-8.
        BadParameter: a parameter is malformed or given twice.
    """
    word, colon, rest = argument.partition(b":")
    if word + colon != keyword and (word + colon).upper() != keyword:
        raise BadPath
    if rest[:1] != b"<":
        rest = rest.lstrip(b" " if strict else b" \t")
    if (plain := _PLAIN.fullmatch(rest)) is not None:
        local_part, domain = plain[1], plain[2]
        parameters = plain[3]
        path = Path(b"%b@%b" % (local_part, domain), None, _known.get(domain) or _noted(domain))
    else:
        _check_utf8(rest)
        inner, parameters = _parted(rest, strict=strict)
        # RFC 5321 section 4.1.1.3: accepted without a domain, whatever the case
        bare = inner.lower() == b"postmaster" and (keyword == b"TO:" or not default_domain)
        path = Path(inner, inner.decode(), "") if bare else _by_the_grammar(inner, default_domain, strict=strict)
    try:
        return path, _parameters(parameters, strict=strict) if parameters else {}
    except BadParameter:
        if rest.startswith(b"<"):
            raise
        raise BadPath from None  # a second address, or a blank within one


def _noted(domain: bytes) -> str:
    """Return a plain domain in lower case, and keep it: the recipients of a message have mostly the same."""
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    found = _known[domain] = str(domain, "ascii").lower()
    return found


def path_of(address: str) -> Path:
    """Return the path for an address that is not a command's argument.

    Raises:
        BadPath: it is not an address.
    """
    if len(address) > LONGEST_PATH:
        raise BadPath
    path, parameters = parse_argument(f"TO:<{address}>".encode("utf-8", "surrogateescape"), b"TO:")
    if parameters:
        raise BadPath
    return path if path.raw else NULL_PATH


def _check_utf8(argument: bytes) -> None:
    try:
        argument.decode()
    except UnicodeDecodeError:
        raise BadUtf8 from None


def _parted(rest: bytes, *, strict: bool) -> tuple[bytes, bytes]:
    """Return the text between the brackets, and the parameters."""
    match = _PATH.fullmatch(rest)
    if match is None and not strict:
        match = _WITHOUT_BRACKETS.fullmatch(rest)
    if match is None or len(match[1]) > LONGEST_PATH:
        raise BadPath
    inner: bytes = match[1] if strict else match[1].strip(b" \t")
    return inner, match[2] or b""


def _by_the_grammar(inner: bytes, default_domain: str, *, strict: bool) -> Path:
    if not inner:
        return NULL_PATH
    if default_domain and not strict and _LOCAL_PART.fullmatch(inner):
        inner += b"@" + normal_domain(default_domain).encode()
    route = _ROUTE.match(inner)
    return _mailbox(inner[route.end() :] if route else inner, strict=strict)


def _mailbox(inner: bytes, *, strict: bool) -> Path:
    before, at, after = inner.rpartition(b"@")
    if not at or _LOCAL_PART.fullmatch(before) is None:
        raise BadPath
    local_part, domain = before.decode(), after.decode()
    if not strict:
        domain = domain.removesuffix(".")
    if domain.startswith("["):
        if not _is_literal(domain):
            raise BadPath
    else:
        domain = _spoken_domain(domain, strict=strict)
    spoken = spoken_local_part(local_part)
    if strict and spoken != local_part:
        raise BadPath
    return Path(f"{spoken}@{domain}".encode(), canonical_local_part(local_part), normal_domain(domain))


def _spoken_domain(domain: str, *, strict: bool) -> str:
    """Return a domain to send upstream: as received, or in A-labels if its U-labels are invalid by RFC 5890.

    Raises:
        BadPath: it is not a domain.
    """
    label = _LABEL if not domain.isascii() else _STRICT_LABEL if strict else _ASCII_LABEL
    if len(domain) > LONGEST_DOMAIN:  # RFC 5321 section 4.5.3.1.2
        raise BadPath
    if all(label.fullmatch(each) for each in domain.split(".")):
        return domain
    try:
        ascii_form = "" if domain.isascii() else a_labels(domain)
    except UnicodeError:
        raise BadPath from None
    if not all(label.fullmatch(each) for each in ascii_form.split(".")):
        raise BadPath
    if _is_made_of_letters(domain):
        return domain
    if strict:
        raise BadPath
    return ascii_form


def _is_made_of_letters(domain: str) -> bool:
    """Whether a domain has only characters of U-labels: many scripts write vowels as combining marks."""
    return unicodedata.is_normalized("NFC", domain) and all(
        char in ".-" or char.isalnum() or unicodedata.category(char).startswith("M") for char in domain
    )


def _is_literal(text: str) -> bool:
    """Check an address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
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


def _parameters(raw: bytes, *, strict: bool) -> dict[str, str | None]:
    """Read `KEYWORD[=value] …`; keywords in capitals, values as received (ENVID is case-sensitive)."""
    found: dict[str, str | None] = {}
    try:
        words = [word for word in raw.decode().replace("\t", " ").split(" ") if word]
    except UnicodeDecodeError:
        raise BadParameter from None
    for word in words:
        match = _PARAMETER.fullmatch(word) or (None if strict else _XTEXT_PARAMETER.fullmatch(word))
        if match is None or match[1].upper() in found:
            raise BadParameter
        found[match[1].upper()] = match[2]
    return found


def mailbox_of(text: str) -> Path | None:
    """Parse an address with a domain by SMTP's grammar; None if it is invalid, because a server must not get it."""
    try:
        path = path_of(text)
    except (BadPath, BadParameter, UnicodeEncodeError):
        return None
    return path if path.domain and not text.startswith("@") else None


def said_by(sender: str) -> str | None:
    """Return a sender as a probe says it, empty for the null sender; None if it is not an address."""
    if not sender:
        return ""
    path = mailbox_of(sender)
    return None if path is None else f"{path.spoken.rpartition('@')[0]}@{path.domain}"
