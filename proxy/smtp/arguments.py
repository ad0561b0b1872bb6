"""The parameters of MAIL and RCPT: which of them the next hops and the operator allow.

`proxy.mail.extensions` has the parameters and their form. A parameter goes to the next hop unchanged (ENVID and ORCPT
are case-sensitive), but incomplete xtext encoding is repaired.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from proxy.mail import replies
from proxy.mail.extensions import BY_KEYWORD, Command, Parameter, parameters_of
from proxy.mail.message import is_binary
from proxy.mail.replies import Reply
from proxy.options.inbound import InboundOptions

_OF_MAIL = parameters_of(Command.MAIL)
_OF_RCPT = parameters_of(Command.RCPT)
_ENCODED = frozenset(each.name for each in (*_OF_MAIL.values(), *_OF_RCPT.values()) if each.encoded)
_HEX_PAIR = re.compile(r"\+([0-9A-Fa-f]{2})?")
Parameters = dict[str, str | None]

Carried = Callable[[], frozenset[str]]
"""Returns the EHLO keywords of the next hops. It is called only if a command has parameters."""

_BINARY = BY_KEYWORD["BINARYMIME"].needs


def repaired(parameters: Parameters) -> Parameters:
    """Return the parameters with repaired xtext: a raw `=` is encoded, and hex digits are upper case."""
    if not _ENCODED & parameters.keys():
        return parameters
    return {name: _as_xtext(value) if value and name in _ENCODED else value for name, value in parameters.items()}


def _as_xtext(value: str) -> str:
    return _HEX_PAIR.sub(lambda found: found[0].upper(), value).replace("=", "+3D")


def unwanted_of_mail(parameters: Parameters, options: InboundOptions, carried: frozenset[str]) -> Reply | None:
    """Return why a parameter of MAIL is rejected."""
    if (refused := _refusal_of(_OF_MAIL, carried, parameters)) is not None:
        return refused
    if is_binary(parameters) and not carried >= _BINARY:
        return replies.BAD_PARAMETER
    if options.max_message_size and int(parameters.get("SIZE") or 0) > options.max_message_size:
        return replies.TOO_BIG
    return None


def unwanted_of_rcpt(parameters: Parameters, carried: frozenset[str]) -> Reply | None:
    """Return why a parameter of RCPT is rejected."""
    return _refusal_of(_OF_RCPT, carried, parameters)


def _refusal_of(known: Mapping[str, Parameter], carried: frozenset[str], parameters: Parameters) -> Reply | None:
    """Return why a parameter is rejected: unknown, invalid value, or broken encoding."""
    for name, value in parameters.items():
        if not _fits(known, carried, name, value):
            broken = name in known and name in _ENCODED and any(not each for each in _HEX_PAIR.findall(value or ""))
            return replies.PARAMETER_SYNTAX if broken else replies.BAD_PARAMETER
    return None


def _fits(known: Mapping[str, Parameter], carried: frozenset[str], name: str, value: str | None) -> bool:
    """Whether we know the parameter, the next hops support it, and its value is valid."""
    parameter = known.get(name)
    if parameter is None or (parameter.requires and parameter.requires not in carried):
        return False
    if parameter.form is None:
        return value is None
    return value is not None and parameter.form.fullmatch(value) is not None
