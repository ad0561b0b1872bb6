"""The service extensions of SMTP that Ringback knows: one row for each, in the order of our EHLO reply.

A row has the keyword, when we offer it, the words after the keyword, the parameters of MAIL and RCPT that it brings,
and what the next hops must offer. The parser of commands, our EHLO reply, XCLIENT, and the commands sent upstream read
this table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Offer(Enum):
    """To which clients our EHLO reply lists an extension, if the next hops offer what the row needs."""

    ALWAYS = auto()
    BEFORE_TLS = auto()
    """If there is a certificate, and TLS has not started."""
    LOGIN = auto()
    """If AUTH is configured, and the connection protects the password."""
    PROXY = auto()
    """If the client is a trusted proxy."""
    LIMITED = auto()
    """If one of the options that its words name is set."""


class Command(Enum):
    """The command that takes a parameter."""

    MAIL = auto()
    RCPT = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of MAIL or RCPT."""

    name: str
    command: Command
    form: re.Pattern[str] | None
    """The form of its value; None: it has no value."""
    upstream: str
    """The next hop gets it if its EHLO reply offered this, in lower case; empty: no next hop gets it."""
    requires: str = ""
    """We accept it only if every next hop (for AUTH: we) offer this, in upper case; empty: always."""
    encoded: bool = False
    """Whether its value is xtext (RFC 3461 section 4) that is repaired. AUTH's is not, because it names a user."""


@dataclass(frozen=True, slots=True)
class Extension:
    """An extension."""

    keyword: str
    offer: Offer
    words: tuple[str, ...] = ()
    """The words after the keyword. `{option}` is an option's value."""
    parameters: tuple[Parameter, ...] = ()
    needs: frozenset[str] = frozenset()
    """It is offered only if every next hop offers all of these."""


_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_UTF8_XTEXT = r"(?:[!-*,-<>-~\x80-\U0010ffff]|\+[0-9A-F]{2})"
_ADDRESS_TYPE = r"[A-Za-z0-9!#$%&'*/?^_`{|}~-]{1,60}"
_CONDITION = "(?:SUCCESS|FAILURE|DELAY)"


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


MAIL, RCPT = Command.MAIL, Command.RCPT

EXTENSIONS: tuple[Extension, ...] = (
    Extension("PIPELINING", Offer.ALWAYS),  # RFC 2920
    Extension("ENHANCEDSTATUSCODES", Offer.ALWAYS),  # RFC 2034
    Extension("CHUNKING", Offer.ALWAYS),  # RFC 3030
    Extension("PRDR", Offer.ALWAYS, parameters=(Parameter("PRDR", MAIL, None, ""),)),  # draft-hall-prdr
    Extension(  # RFC 1870
        "SIZE", Offer.ALWAYS, ("{max_message_size}",), (Parameter("SIZE", MAIL, _form(r"[0-9]{1,20}"), "size"),)
    ),
    Extension(  # RFC 6152; RFC 3030 for BINARYMIME
        "8BITMIME", Offer.ALWAYS, (),
        (Parameter("BODY", MAIL, _words(r"7BIT|8BITMIME|BINARYMIME"), "8bitmime"),), frozenset({"8BITMIME"}),
    ),
    Extension(  # RFC 6531
        "SMTPUTF8", Offer.ALWAYS, (), (Parameter("SMTPUTF8", MAIL, None, "smtputf8"),), frozenset({"SMTPUTF8"})
    ),
    Extension(  # RFC 3461 sections 4.1 to 4.4; RFC 6533 for ORCPT
        "DSN", Offer.ALWAYS, (),
        (
            Parameter("RET", MAIL, _words(r"FULL|HDRS"), "dsn", "DSN"),
            Parameter("ENVID", MAIL, _form(f"{_XTEXT}{{1,100}}"), "dsn", "DSN", encoded=True),
            Parameter("NOTIFY", RCPT, _words(f"NEVER|{_CONDITION}(?:,{_CONDITION}){{0,2}}"), "dsn", "DSN"),
            Parameter("ORCPT", RCPT, _form(f"{_ADDRESS_TYPE};{_UTF8_XTEXT}{{0,500}}"), "dsn", "DSN", encoded=True),
        ),
        frozenset({"DSN"}),
    ),
    Extension("BINARYMIME", Offer.ALWAYS, needs=frozenset({"BINARYMIME", "CHUNKING"})),  # RFC 3030
    Extension("STARTTLS", Offer.BEFORE_TLS),  # RFC 3207
    Extension(  # RFC 4954; both mechanisms send the password itself, which a proxy needs to ask the next hop
        "AUTH", Offer.LOGIN, ("PLAIN", "LOGIN"),
        (Parameter("AUTH", MAIL, _form(f"<>|{_XTEXT}{{1,500}}"), "auth", "AUTH"),),
    ),
    Extension(  # Postfix's XCLIENT_README
        "XCLIENT", Offer.PROXY, ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
    ),
    Extension(  # RFC 9422
        "LIMITS", Offer.LIMITED,
        ("MAILMAX={max_receptions_per_connection}", "RCPTMAX={max_recipients_per_message}"),
    ),
)  # fmt: skip

BY_KEYWORD: Mapping[str, Extension] = {each.keyword: each for each in EXTENSIONS}


def parameters_of(command: Command) -> dict[str, Parameter]:
    """Return the parameters that a command takes, by name."""
    return {each.name: each for row in EXTENSIONS for each in row.parameters if each.command is command}


def carried_by() -> dict[str, str]:
    """Return what a next hop must offer for each parameter, in lower case. Others are never sent to it."""
    return {each.name: each.upstream for row in EXTENSIONS for each in row.parameters if each.upstream}
