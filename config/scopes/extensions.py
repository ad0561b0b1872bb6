"""Translate Momentum's listener options that name SMTP extensions into the options that Ringback acts on.

    SMTP_Extensions = ( "XCLIENT" )                  Xclient_Hosts: the clients that these options are for
    SMTP_Extensions = ( "AUTH LOGIN" )               Authentication = file, if the parameters name one
    AuthLoginParameters = [ uri = "file:///x" ]      Authentication_File = /x, of clear passwords
    AuthLoginParameters = [ uri = "ecauth://" ]      Authentication = datasource, Authentication_Scheme = ecauth
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
    "authloginparameters": "a file's `uri` is `authentication_file`, a scheme's `authentication_scheme`",
    "authplainparameters": "a file's `uri` is `authentication_file`, a scheme's `authentication_scheme`",
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

_ELSEWHERE = frozenset({"radius", "smtp_auth_proxy", "ac_auth", "ldap", "ldaps", "mysql", "pgsql", "http", "https"})
"""Schemes that are other modules of Momentum. Any other one is a scheme of `auth_ds`."""


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
    passwords: str = "file"
    """Where they are: a value of Authentication."""

    @classmethod
    def of(cls, model: type[Options], findings: Findings, options: Iterable[Option], *, in_order: bool) -> Self:
        """Look at every option of a listener. AUTH counts only if a file of passwords is named."""
        written = list(options)
        named = {
            keyword for option in written if option.name.text.lower() == EXTENSIONS for keyword, _ in _keywords(option)
        }
        sources = [
            "file" if _FORMS.get(scheme) else "datasource"
            for option in written
            if option.name.text.lower() in _PLAIN_PARAMETERS and (scheme := _source(option.value)[1])
        ]
        extensions = frozenset(named - (_NONE if sources else _PLAIN))
        return cls(model, findings, extensions, in_order, (sources or ["file"])[0])

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
            return _passwords(option)
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
            yield _option("authentication", at, Word(self.passwords, at.span))
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


def _passwords(option: Option) -> list[Option] | None:
    """Return the options for a password file or a scheme; None if the parameters name another kind of source."""
    uri, scheme, path = _source(option.value)
    if uri is None or not scheme:
        return None
    if scheme not in _FORMS:
        return [_option("authentication_scheme", option.name, String(scheme, '"', uri.span))]
    return [
        _option("authentication_file", option.name, String(path, '"', uri.span)),
        _option("authentication_file_form", option.name, Word(_FORMS[scheme], uri.span)),
    ]


def _source(value: Value) -> tuple[Scalar | None, str, str]:
    """Return the URI in AUTH's parameters, its scheme, and what follows; no scheme if it is not one of ours."""
    for entry in value.entries if isinstance(value, Dictionary) else ():
        if entry.key.text.lower() == "uri" and isinstance(entry.value, Word | String):
            scheme, colon, path = entry.value.text.partition("://")
            scheme = scheme.lower()
            if colon and scheme and scheme not in _ELSEWHERE and (path or scheme not in _FORMS):
                return entry.value, scheme, path
    return None, "", ""


def _keywords(option: Option) -> Iterator[tuple[str, Scalar]]:
    """Return the extensions that an option lists, in their normal form and as written."""
    for item in option.value.items if isinstance(option.value, List) else (option.value,):
        if isinstance(item, Word | String):
            yield " ".join(item.text.upper().split()), item


def _option(name: str, at: Scalar, value: Value) -> Option:
    return Option(Word(name, at.span), value, at.span)


def _networks(networks: tuple[str, ...], at: Scalar) -> List:
    return List(tuple(Word(network, at.span) for network in networks), at.span)
