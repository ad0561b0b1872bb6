"""The arguments of MAIL and RCPT, and the replies to commands that are not offered.

`address` has the grammar of addresses, `extensions` the parameters and their form. This module says what the operator
allows. A parameter goes to the next hop unchanged (ENVID and ORCPT are case-sensitive), but incomplete xtext encoding
is repaired.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from proxy.mail import replies
from proxy.mail.address import BadParameter, BadPath, BadUtf8, parse_argument
from proxy.mail.extensions import BY_KEYWORD, Command, Parameter, parameters_of
from proxy.mail.message import is_binary
from proxy.mail.replies import Reply
from proxy.mail.session import FROM, NULL_PATH, TO, Path, Recipient
from proxy.options.inbound import InboundOptions

_OF_MAIL = parameters_of(Command.MAIL)
_OF_RCPT = parameters_of(Command.RCPT)
_ENCODED = frozenset(each.name for each in (*_OF_MAIL.values(), *_OF_RCPT.values()) if each.encoded)
_HEX_PAIR = re.compile(r"\+([0-9A-Fa-f]{2})?")
_KNOWN_ELSEWHERE = frozenset({"AUTH", "EXPN", "ETRN", "TURN", "SEND", "SOML", "SAML"})
_HTTP = frozenset({"GET", "POST", "CONNECT", "HEAD", "PUT", "OPTIONS"})
Parameters = dict[str, str | None]

Carried = Callable[[], frozenset[str]]
"""Returns the EHLO keywords of the next hops. It is called only if a command has parameters."""

_BINARY = BY_KEYWORD["BINARYMIME"].needs


def sender_of(argument: bytes, options: InboundOptions, carried: Carried) -> tuple[Path, Parameters] | Reply:
    """Parse MAIL's argument into the reverse-path and the parameters, or return why it is rejected.

    A parameter that the next hops do not support, by what `carried` returns, is not accepted here.
    """
    strict = options.strict_addresses
    try:
        path, parameters = parse_argument(
            argument, FROM, default_domain=options.domain_for_unqualified_sender_address, strict=strict
        )
    except BadPath as bad:
        return replies.NOT_UTF8 if isinstance(bad, BadUtf8) else replies.SENDER_SYNTAX
    except BadParameter:
        return replies.BAD_PARAMETER
    is_plain = path.domain[:1] not in {"", "["} and path.raw.isascii()
    if not is_plain and (refused := _unwanted_sender(path, parameters, options)) is not None:
        return refused
    if parameters:
        parameters = parameters if strict else _repaired(parameters)
        offered = carried()
        taken = offered if strict else offered | {"AUTH"}  # only clients that offer it get this reply
        if (refused := _unwanted(parameters, options, taken)) is not None:
            return refused
    if path is NULL_PATH:
        return Path(b"", "", "", given=argument), parameters
    path.said = FROM if argument == b"FROM:<%b>" % path.raw else argument
    return path, parameters


def _repaired(parameters: Parameters) -> Parameters:
    """Return the parameters with repaired xtext: a raw `=` is encoded, and hex digits are upper case."""
    if not _ENCODED & parameters.keys():
        return parameters
    return {name: _as_xtext(value) if value and name in _ENCODED else value for name, value in parameters.items()}


def _as_xtext(value: str) -> str:
    return _HEX_PAIR.sub(lambda found: found[0].upper(), value).replace("=", "+3D")


def _refusal_of(known: Mapping[str, Parameter], carried: frozenset[str], parameters: Parameters) -> Reply | None:
    """Return why a parameter is rejected: unknown, invalid value, or broken encoding."""
    for name, value in parameters.items():
        if not _fits(known, carried, name, value):
            broken = name in known and name in _ENCODED and any(not each for each in _HEX_PAIR.findall(value or ""))
            return replies.PARAMETER_SYNTAX if broken else replies.BAD_PARAMETER
    return None


def _unwanted_sender(path: Path, parameters: Parameters, options: InboundOptions) -> Reply | None:
    """Return why a well-formed reverse-path is rejected."""
    if not path.raw.isascii() and "SMTPUTF8" not in parameters:
        return replies.NEEDS_SMTPUTF8
    if not path.raw and not options.allow_null_envelope_sender:
        return replies.NO_NULL_SENDER
    bare = path.raw and not path.domain  # only RCPT allows postmaster without a domain (RFC 5321 4.1.1.3)
    if bare or (path.domain[:1] == "[" and not options.allow_ip_literal):
        return replies.SENDER_SYNTAX
    return None


def _unwanted(parameters: Parameters, options: InboundOptions, carried: frozenset[str]) -> Reply | None:
    """Return why a parameter of MAIL is rejected."""
    if (refused := _refusal_of(_OF_MAIL, carried, parameters)) is not None:
        return refused
    if is_binary(parameters) and not carried >= _BINARY:
        return replies.BAD_PARAMETER
    if options.max_message_size and int(parameters.get("SIZE") or 0) > options.max_message_size:
        return replies.TOO_BIG
    return None


def _fits(known: Mapping[str, Parameter], carried: frozenset[str], name: str, value: str | None) -> bool:
    """Whether we know the parameter, the next hops support it, and its value is valid."""
    parameter = known.get(name)
    if parameter is None or (parameter.requires and parameter.requires not in carried):
        return False
    if parameter.form is None:
        return value is None
    return value is not None and parameter.form.fullmatch(value) is not None


def recipient_of(argument: bytes, options: InboundOptions, carried: Carried, *, utf8: bool) -> Recipient | Reply:
    """Parse RCPT's argument into a recipient, or return why it is rejected."""
    try:
        path, parameters = parse_argument(
            argument,
            TO,
            default_domain=options.domain_for_unqualified_recipient_addresses,
            strict=options.strict_addresses,
        )
    except BadPath as bad:
        return replies.NOT_UTF8 if isinstance(bad, BadUtf8) else replies.RECIPIENT_SYNTAX
    except BadParameter:
        return replies.BAD_PARAMETER
    if not path.raw or (path.domain[:1] == "[" and not options.allow_ip_literal):
        return replies.RECIPIENT_SYNTAX
    repaired = parameters
    if parameters:
        repaired = parameters if options.strict_addresses else _repaired(parameters)
        if (refused := _refusal_of(_OF_RCPT, carried(), repaired)) is not None:
            return refused
    if not utf8 and not (path.raw.isascii() and (not parameters or (parameters.get("ORCPT") or "").isascii())):
        return replies.NEEDS_SMTPUTF8
    path.said = TO if argument == b"TO:<%b>" % path.raw else argument
    return Recipient(path, repaired)


def submitter_for(value: str, user: str) -> str:
    """Return MAIL's AUTH parameter for the next hop: `<>` unless it names the client's authenticated user.

    A client that is not trusted to speak for others is relayed as if it had given `AUTH=<>` (RFC 4954 section 5).
    """
    named = re.sub(r"\+([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), value).encode("latin-1", "replace")
    return value if user and named == user.encode() else "<>"


def unknown(command: str) -> Reply:
    """Return the reply to a command that is not offered. A web browser is disconnected."""
    if command in _HTTP:
        return replies.NOT_HTTP
    if command == "PROXY":
        return replies.PROXY_NOT_ALLOWED
    return replies.NOT_IMPLEMENTED if command in _KNOWN_ELSEWHERE else replies.UNKNOWN_COMMAND
