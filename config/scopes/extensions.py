"""Translate Momentum's listener options that name SMTP extensions into the options that Ringback acts on.

    SMTP_Extensions = ( "XCLIENT" )                  Xclient_Hosts: the clients that these options are for
    SMTP_Extensions = ( "AUTH LOGIN" )               Authentication = file, if the parameters name a file
    AuthLoginParameters = [ uri = "file:///x" ]      Authentication_File = /x, of clear passwords
    Proxy_Protocol = true                            Proxy_Protocol_Networks: everyone

2.2 writes the same as properties of a rule; `config.scopes.acl` makes these options of them. What the schema does not
declare is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from config import naming
from config.findings import Findings
from config.language.nodes import Dictionary, List, Option, Scalar, String, Value, Word
from config.schema.declared import names_of
from config.schema.options import Options
from config.schema.readers import ReadContext, Unreadable, reader_for

EXTENSIONS = "smtp_extensions"
EVERYONE = ("0.0.0.0/0", "::/0")
ALWAYS_OFFERED = frozenset(
    {"8BITMIME", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "PIPELINING", "SIZE", "SMTPUTF8", "STARTTLS"}
)
"""Extensions that need no switch: Ringback offers each whenever it can, STARTTLS if there is a certificate."""

TRANSLATED = {
    EXTENSIONS: "XCLIENT is `xclient_hosts`; AUTH LOGIN and AUTH PLAIN are `authentication`",
    "authloginparameters": "a file's `uri` is `authentication_file`",
    "authplainparameters": "a file's `uri` is `authentication_file`",
    "proxy_protocol": "`proxy_protocol_networks` for everyone",
}
"""What is translated, and into what; for the reference."""

_XCLIENT = "XCLIENT"
_PLAIN = frozenset({"AUTH LOGIN", "AUTH PLAIN"})
_ACTED_ON = _PLAIN | {_XCLIENT}
_NONE = frozenset[str]()
_PLAIN_PARAMETERS = frozenset({"authloginparameters", "authplainparameters"})
_FORMS = {"file": "clear", "digest": "digest"}
"""Schemes of a password file's URI, with the values of Authentication_File_Form."""


@dataclass(frozen=True, slots=True)
class Translation:
    """How the options of one listener are translated.

    In 4.x, a network's SMTP_Extensions replace the listener's. So what `extensions` has, which any of its networks
    names, is taken from those that do not name it. In 2.2 (`in_order`), the properties of the rules add up.
    """

    model: type[Options]
    findings: Findings
    extensions: frozenset[str] = frozenset()
    in_order: bool = False

    @classmethod
    def of(cls, model: type[Options], findings: Findings, options: Iterable[Option], *, in_order: bool) -> Self:
        """Look at every option of a listener. AUTH counts only if a file of passwords is named."""
        written = list(options)
        named = {
            keyword for option in written if option.name.text.lower() == EXTENSIONS for keyword, _ in _keywords(option)
        }
        passwords = any(
            option.name.text.lower() in _PLAIN_PARAMETERS and _file(option.value) is not None for option in written
        )
        return cls(model, findings, frozenset(named - (_NONE if passwords else _PLAIN)), in_order)

    def translated(self, options: Iterable[Option], networks: tuple[str, ...] = EVERYONE) -> list[Option]:
        """Return the options to bind; `networks` are the clients that they are for."""
        written = list(options)
        known = names_of(self.model)
        taken = {known[option.name.text.lower()] for option in written if option.name.text.lower() in known}
        translated: list[Option] = []
        for option in written:
            meaning = self._meaning(option, networks)
            if meaning is None:
                translated.append(option)
            else:
                translated += [own for own in meaning if own.name.text not in taken]
        return translated

    def _meaning(self, option: Option, networks: tuple[str, ...]) -> list[Option] | None:
        """Return what an option means here; None if it means itself."""
        name = option.name.text.lower()
        known = names_of(self.model)
        if name in known:
            return None
        if name == EXTENSIONS and "xclient_hosts" in known:
            return list(self._extensions(option, networks))
        if name in _PLAIN_PARAMETERS and "authentication_file" in known:
            return _password_file(option)
        if name == "proxy_protocol" and "proxy_protocol_networks" in known and networks == EVERYONE:
            return self._proxy_protocol(option)
        return None

    def _extensions(self, option: Option, networks: tuple[str, ...]) -> Iterator[Option]:
        at, named = option.name, dict(_keywords(option))
        for keyword, item in named.items():
            if keyword not in ALWAYS_OFFERED and keyword not in self.extensions & _ACTED_ON:
                effect = "authenticates" if keyword.startswith("AUTH") else ""
                self.findings.add(naming.not_acted_on("extension", item.text, item.span, effect))
        if _XCLIENT in named or self._replaces(_XCLIENT):
            yield _option("xclient_hosts", at, _networks(networks if _XCLIENT in named else (), at))
        if named.keys() & _PLAIN & self.extensions:
            yield _option("authentication", at, Word("file", at.span))
        elif any(self._replaces(keyword) for keyword in _PLAIN):
            yield _option("authentication", at, Word("no", at.span))

    def _replaces(self, keyword: str) -> bool:
        return keyword in self.extensions and not self.in_order

    def _proxy_protocol(self, option: Option) -> list[Option]:
        try:
            wanted = reader_for(bool).read(option.value, ReadContext(option.name.text, self.findings))
        except Unreadable as wrong:
            wrong.report(self.findings)
            return []
        return [_option("proxy_protocol_networks", option.name, _networks(EVERYONE, option.name))] if wanted else []


def _password_file(option: Option) -> list[Option] | None:
    """Return the options for a password file; None if the parameters name another kind of source."""
    file = _file(option.value)
    if file is None:
        return None
    uri, form, path = file
    return [
        _option("authentication_file", option.name, String(path, '"', uri.span)),
        _option("authentication_file_form", option.name, Word(form, uri.span)),
    ]


def _file(value: Value) -> tuple[Scalar, str, str] | None:
    """Return the URI in AUTH's parameters, its form, and its path; None if it is not a file's."""
    for entry in value.entries if isinstance(value, Dictionary) else ():
        if entry.key.text.lower() == "uri" and isinstance(entry.value, Word | String):
            scheme, _, path = entry.value.text.partition("://")
            if scheme.lower() in _FORMS and path:
                return entry.value, _FORMS[scheme.lower()], path
    return None


def _keywords(option: Option) -> Iterator[tuple[str, Scalar]]:
    """Return the extensions that an option lists, in their normal form and as written."""
    for item in option.value.items if isinstance(option.value, List) else (option.value,):
        if isinstance(item, Word | String):
            yield " ".join(item.text.upper().split()), item


def _option(name: str, at: Scalar, value: Value) -> Option:
    return Option(Word(name, at.span), value, at.span)


def _networks(networks: tuple[str, ...], at: Scalar) -> List:
    return List(tuple(Word(network, at.span) for network in networks), at.span)
