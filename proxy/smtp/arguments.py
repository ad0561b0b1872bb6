"""What MAIL and RCPT may carry, and what is answered to commands that are not offered.

The grammar is `address`'s; here stands what this server makes of it: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8
(RFC 6531), and what the operator allows.
"""

from __future__ import annotations

from proxy import replies
from proxy.replies import Reply
from proxy.session import Path
from proxy.settings import CoreOptions
from proxy.smtp.address import BadParameter, BadPath, parse_argument

_BODIES = frozenset({"7BIT", "8BITMIME"})
_KNOWN_ELSEWHERE = frozenset({"AUTH", "BDAT", "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"})
_HTTP = frozenset({"GET", "POST", "CONNECT", "HEAD", "PUT", "OPTIONS"})
_MOST_DIGITS = 20
"""Of SIZE's value (RFC 1870 section 4)."""

Parameters = dict[str, str | None]


def sender_of(argument: bytes, options: CoreOptions) -> tuple[Path, Parameters] | Reply:
    """Read MAIL's argument: the reverse-path and the parameters, or why it is refused."""
    try:
        path, parameters = parse_argument(argument, b"FROM:")
    except BadPath:
        return replies.SENDER_SYNTAX
    except BadParameter:
        return replies.BAD_PARAMETER
    refused = _unwanted(path, parameters, options)
    return (path, parameters) if refused is None else refused


def _unwanted(path: Path, parameters: Parameters, options: CoreOptions) -> Reply | None:
    """Return why a reverse-path, or a parameter, that is well formed is not taken here."""
    if not path.raw.isascii() and "SMTPUTF8" not in parameters:
        return replies.NEEDS_SMTPUTF8
    if not path.raw and not options.allow_null_envelope_sender:
        return replies.NO_NULL_SENDER
    bare = path.raw and not path.domain  # postmaster without a domain is granted to RCPT alone (RFC 5321 4.1.1.3)
    if bare or (path.domain.startswith("[") and not options.allow_ip_literal):
        return replies.SENDER_SYNTAX
    if not all(_is_offered(name, value) for name, value in parameters.items()):
        return replies.BAD_PARAMETER
    if options.max_message_size and int(parameters.get("SIZE") or 0) > options.max_message_size:
        return replies.TOO_BIG
    return None


def _is_offered(name: str, value: str | None) -> bool:
    """Whether a parameter of MAIL is one that we know, with a value that it can have."""
    if name == "SIZE":
        return value is not None and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS
    if name == "BODY":
        return value is not None and value.upper() in _BODIES
    return name == "SMTPUTF8" and value is None


def recipient_of(argument: bytes, options: CoreOptions, *, utf8: bool) -> Path | Reply:
    """Read RCPT's argument: the forward-path, or why it is refused. No parameters are offered."""
    try:
        path, parameters = parse_argument(
            argument, b"TO:", default_domain=options.domain_for_unqualified_recipient_addresses
        )
    except BadPath:
        return replies.RECIPIENT_SYNTAX
    except BadParameter:
        return replies.BAD_PARAMETER
    if not path.raw or (path.domain.startswith("[") and not options.allow_ip_literal):
        return replies.RECIPIENT_SYNTAX
    if parameters:
        return replies.BAD_PARAMETER
    return path if utf8 or path.raw.isascii() else replies.NEEDS_SMTPUTF8


def path_context(prefix: str, path: Path) -> dict[str, str]:
    """Return the context variables of a path: `<prefix>_string`, `_localpart`, `_domain`."""
    return {
        f"{prefix}_string": path.text,
        f"{prefix}_localpart": path.local_part,
        f"{prefix}_domain": path.domain,
    }


def tls_context(cipher: tuple[str, str, int] | None) -> dict[str, str]:
    """Return the context variables of a session that is encrypted."""
    name, _, bits = cipher or ("", "", 0)
    return {"tls": "true", "tls_cipher": name, "tls_cipher_usebits": str(bits)}


def banner(options: CoreOptions) -> Reply:
    """Return the greeting (RFC 5321 section 4.2): the operator's own text, or our name and what we speak.

    A static banner may be written as a whole reply of several lines; its codes and line breaks are taken as such.
    """
    if not options.static_banner:
        return Reply(220, (f"{options.banner_hostname or options.hostname} ESMTP Ringback".encode(),))
    lines = options.static_banner.replace("\\r", "").replace("\\n", "\n").strip("\r\n").splitlines()
    return Reply(220, tuple(line.removeprefix("220").lstrip("- ").encode("ascii", "replace") for line in lines))


def unknown(command: str) -> Reply:
    """Return the reply to a command that is not offered; a web browser is sent away."""
    if command in _HTTP:
        return replies.NOT_HTTP
    return replies.NOT_IMPLEMENTED if command in _KNOWN_ELSEWHERE else replies.UNKNOWN_COMMAND
