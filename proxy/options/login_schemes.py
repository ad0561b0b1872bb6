"""`auth_ds` stanzas: how a datasource checks the logins of SMTP AUTH.

    auth_ds { Scheme "ecauth" { Authenticate {
      cache = "users"  query = "select password from users where mail = :user"  map = [ user = "%{username}" ]
      returns_password = true  type = ucrypt } } }

Momentum 2.2 writes `register:ecauth [ … map = x ]` and `map:x [ user = "%{username}" ]` inside its module. A listener
names the scheme in the URI of its AUTH, `ecauth://`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from config import naming
from config.diagnostics import NOT_ENFORCED, Diagnostic, Severity, Span
from config.errors import not_a, not_one_of
from config.language.nodes import Dictionary, Entry, Option, Scalar, Stanza, String, Value, Word
from config.schema.declared import bind, names_of
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader
from config.tools.writing import written as as_written
from proxy.options.named_entries import named_entries

ACCEPTED = (
    "clear", "ucrypt", "rfc2307", "bcrypt", "sha256_hex", "sha256_base64", "ssha256", "sha512_hex", "sha512_base64",
    "ssha512", "scrypt",
)  # fmt: skip
"""Forms of stored passwords that are compared."""

REFUSED = (
    "sha1_hex", "sha1_base64", "ssha1", "md5", "md5_hex", "md5_base64", "hmac_md5", "digest-md5", "smd5",
)  # fmt: skip
"""Forms of Momentum that are never accepted, because a stolen copy of them gives the password away."""

VARIABLES = frozenset(
    {"username", "username_localpart", "username_domain", "password", "crypt", "uri", "nonce", "realm", "digest-uri"}
)

_WHERE = " in auth_ds"
_OF_MODULES = frozenset({"enabled", "enable", "debug_level"})
_GROUPS = frozenset({"querygroups", "enumgroups", "query_groups", "enum_groups"})
_MACRO = re.compile(r"%\{([^{}]*)\}")


def _read_kind(value: Value, reading: ReadContext) -> str:
    text = value.text if isinstance(value, Word | String) else ""
    kind = text.lower().removeprefix("{").removesuffix("}")
    if kind in REFUSED:
        reading.findings.add(
            Diagnostic(
                f"passwords of the kind {kind} are never accepted, so these users cannot log in",
                value.span,
                "store them as bcrypt, SHA-2 or scrypt",
                Severity.WARNING,
                code=NOT_ENFORCED,
            )
        )
    elif kind not in ACCEPTED:
        raise Unreadable(not_one_of(reading.name, text, [*ACCEPTED, *REFUSED], value.span))
    return kind


def _read_kinds(value: Value, reading: ReadContext) -> dict[str, str]:
    if not isinstance(value, Dictionary):
        raise Unreadable(not_a("a dictionary", reading.name, value.span, "write [ value = kind ]"))
    return {each.key.text: _read_kind(each.value, reading) for each in value.entries}


def _read_map(value: Value, reading: ReadContext) -> dict[str, str]:
    if not isinstance(value, Dictionary):
        raise Unreadable(not_a("a dictionary", reading.name, value.span, 'write [ user = "%{username}" ]'))
    for each in value.entries:
        text = each.value.text if isinstance(each.value, Word | String) else ""
        for name in _MACRO.findall(text):
            if name.partition("|")[0].lower() not in VARIABLES:
                raise Unreadable(not_one_of(f"%{{{name}}}", name, sorted(VARIABLES), each.value.span))
    return {each.key.text: each.value.text for each in value.entries if isinstance(each.value, Word | String)}


Kind = Annotated[str, ValueReader(_read_kind, "a kind of stored password")]
Kinds = Annotated[Mapping[str, str], ValueReader(_read_kinds, "a dictionary of kinds")]
Names = Annotated[Mapping[str, str], ValueReader(_read_map, "a dictionary of parameters")]


class LoginScheme(Options):
    """How one scheme checks a login."""

    name: str = option(doc="Its name in URIs, before `://`.")
    cache: str = option(doc="The datasource.")
    query: str = option(doc="Finds the user. `:name` and `$name` are the parameters that `map` names.")
    map: Names = option(
        {"username": "%{username}", "password": "%{password}"},
        doc="Parameters of the query: %{username}, its %{username_localpart} and %{username_domain}, and %{password}.",
    )
    returns_password: bool = option(
        False, doc="The query finds the stored password. Otherwise its first column says whether the login is right."
    )
    password_column: str = option("", doc="Column of the stored password: its name, or its number from 0. Default: 0.")
    type: Kind = option("clear", doc="What the stored password is.")
    type_column: str = option("", doc="Column that says what the stored password is, if it differs between users.")
    type_map: Kinds = option({}, doc="What the values of `type_column` mean, if they are not names of kinds.")

    def __str__(self) -> str:
        """Return it as a list's item of the configuration."""
        names = [name for name in type(self).model_fields if name in self.model_fields_set]
        return f"[ {' '.join(f'{name} = {as_written(getattr(self, name))}' for name in names)} ]"


# ---------------------------------------------------------------- both dialects


def _read_stanza(stanza: Stanza, reading: ReadContext) -> tuple[LoginScheme, ...]:
    named = {
        each.name.text.lower(): each.value
        for each in stanza.body
        if isinstance(each, Option) and each.name.text.lower().startswith(("map:", "type_map:"))
    }
    found = []
    for statement in stanza.body:
        if isinstance(statement, Stanza):
            found.append(_of_stanza(statement, reading))
        elif isinstance(statement, Option) and statement.name.text.lower().startswith("register:"):
            found.append(_of_22(statement, named, reading))
        elif isinstance(statement, Option) and statement.name.text.lower() not in _OF_MODULES | named.keys():
            name = statement.name
            known = ["register:NAME", "map:NAME", "type_map:NAME", *_OF_MODULES]
            reading.findings.add(naming.unknown_option(name.text, _WHERE, known, name.span))
    return tuple(each for each in found if each is not None)


def _of_stanza(stanza: Stanza, reading: ReadContext) -> LoginScheme | None:
    head = stanza.head
    if head[0].text.lower() != "scheme" or len(head) != 2:
        reading.findings.add(naming.unknown("stanza", head[0].text, ("scheme",), head[0].span, _WHERE))
        return None
    options = [each for each in stanza.body if isinstance(each, Option)]
    for inner in (each for each in stanza.body if isinstance(each, Stanza)):
        kind = inner.head[0].text.lower()
        if kind == "authenticate":
            options += [each for each in inner.body if isinstance(each, Option)]
        elif kind in _GROUPS:
            reading.findings.add(naming.not_acted_on("stanza", inner.head[0].text, inner.head_span))
        else:
            known = ("Authenticate", "QueryGroups", "EnumGroups")
            reading.findings.add(naming.unknown("stanza", inner.head[0].text, known, inner.head_span, _WHERE))
    return _scheme(head[1], options, stanza.head_span, reading)


def _of_22(option_: Option, named: Mapping[str, Value], reading: ReadContext) -> LoginScheme | None:
    """Read `register:NAME [ … ]`, whose `map` and `type_map` may be the names of other options."""
    if not isinstance(option_.value, Dictionary):
        hint = 'write register:NAME [ cache = "…" query = "…" ]'
        reading.findings.add(not_a("a dictionary", option_.name.text, option_.value.span, hint))
        return None
    options = []
    for entry in _flattened(option_.value, reading):
        kind, value = entry.key.text.lower(), entry.value
        if kind in {"map", "type_map"} and isinstance(value, Word | String):
            target = named.get(f"{kind}:{value.text.lower()}")
            if target is None:
                reading.findings.add(naming.unknown(kind, value.text, [*named], value.span, _WHERE))
                return None
            value = target
        options.append(Option(Word(entry.key.text, entry.key.span), value, entry.span))
    name = Word(option_.name.text.partition(":")[2], option_.name.span)
    return _scheme(name, options, option_.span, reading)


def _flattened(value: Dictionary, reading: ReadContext) -> Iterator[Entry]:
    for entry in value.entries:
        key = entry.key.text.lower()
        if key == "authenticate" and isinstance(entry.value, Dictionary):
            yield from entry.value.entries
        elif key in _GROUPS:
            reading.findings.add(naming.not_acted_on("option", entry.key.text, entry.key.span))
        else:
            yield entry


def _scheme(name: Scalar, options: list[Option], head: Span, reading: ReadContext) -> LoginScheme | None:
    """Read one scheme; None if anything in it is wrong, which is reported."""
    known = names_of(LoginScheme)
    written = {"name": Option(Word("name", name.span), String(name.text.lower(), '"', name.span), name.span)}
    for each in options:
        lower = each.name.text.lower()
        if lower == "name" or lower not in known:
            reading.findings.add(naming.unknown_option(each.name.text, _WHERE, [*known], each.name.span))
        else:
            written[lower] = each
    return bind(LoginScheme, written, where=_WHERE, head=head, findings=reading.findings)


def _read_list(value: Value, reading: ReadContext) -> tuple[LoginScheme, ...]:
    """Read `( [ name = … cache = … ] … )`, as `config show` writes it."""
    found = []
    for named, others, span in named_entries(value, reading, "a scheme", 'auth_ds { Scheme "NAME" { … } }', _WHERE):
        scheme = _scheme(named, others, span, reading)
        if scheme is None:
            raise Unreadable
        found.append(scheme)
    return tuple(found)


def _shown(schemes: Any) -> str:
    return f"( {' '.join(map(str, schemes))} )" if schemes else "()"


LoginSchemes = Annotated[
    tuple[LoginScheme, ...],
    ValueReader(_read_list, "a stanza of schemes", _read_stanza, write=_shown),
]
