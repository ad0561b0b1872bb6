"""Convert 2.2 files to 3.x and 4.x: module lines and listeners become stanzas, everything else stays.

The text is edited only where it must change and then formatted, so comments and order are kept. The result loads as the
same settings. One thing has no exact counterpart: rules, which apply in written order, become `Peer` stanzas, of which
the most specific applies, option by option. The converter adds or omits options to get the same effect. If that depends
on an unknown default, a warning names the clients.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from operator import attrgetter
from typing import TypeAlias

from config.diagnostics import Diagnostic, Source
from config.findings import Findings
from config.language.formatter import comments_of, format_text, parsed
from config.language.layout import flat_text, scalar_text
from config.language.lexer import ConfigLexer
from config.language.nodes import List, Option, Scalar, Stanza, Statement, String, Tree, Value, Word
from config.schema.declared import declared, names_of
from config.schema.momentum import catalogue
from config.schema.readers import ReadContext, Unreadable, reader_for
from config.schema.specs import Schema
from config.schema.stanzas import is_module_line, other_module, take_passive
from config.schema.values import Network
from config.scopes.acl import ListenNode, PeerNode, from_list
from config.scopes.extensions import EXTENSIONS
from config.spelling import in_quotes
from config.tools import errors
from config.tools.writing import written

DIALECTS = ("4x",)
Cidr: TypeAlias = IPv4Network | IPv6Network
_REST_OF_LINE = re.compile(r"[ \t\r]*\n")
_LISTENER = "_listener"
_RFC2822 = "rfc2822"


@dataclass(frozen=True, slots=True)
class Converted:
    """The new text, and warnings about what has no exact equivalent."""

    text: str
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def convert(text: str, to: str = "4x", *, name: str = "<text>", schema: Schema | None = None) -> Converted:
    """Convert a text, with warnings; `schema` provides the modules' types and known defaults.

    Raises:
        Unformattable: the text has errors.
        ValueError: `to` is not a supported dialect.
    """
    if to not in DIALECTS:
        raise ValueError(errors.no_dialect(to, DIALECTS))
    source = Source(name, text)
    conversion = _Conversion(parsed(source), schema)
    for edit in sorted(conversion.edits(), key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return Converted(format_text(text, name), tuple(conversion.findings))


class _Conversion:
    """The edits of one file."""

    def __init__(self, tree: Tree, schema: Schema | None) -> None:
        self.findings = Findings()
        self._tree = tree
        self._schema = schema
        self._lexer = ConfigLexer(tree.source, Findings())
        self._comments = list(comments_of(tree.source))

    def edits(self) -> Iterator[_Edit]:
        """Return the edits."""
        for statement in self._tree.statements:
            if isinstance(statement, Stanza) and is_module_line(statement):
                yield from self._module(statement)
            elif isinstance(statement, Stanza) and statement.head[0].text.lower() == _RFC2822:
                yield from self._flatten(statement)
            elif isinstance(statement, Option) and statement.name.text.lower().endswith(_LISTENER):
                yield from self._listener(statement)

    # ------------------------------------------------------------ modules

    def _module(self, stanza: Stanza) -> Iterator[_Edit]:
        """`Validate validate/x name passive {` becomes `x "name" { enabled = false`."""
        path = stanza.head[1].text
        words = list(stanza.head[2:])
        passive = take_passive(words)
        kind, defaults = path.rpartition("/")[2], tuple[str, ...]()
        if self._schema is not None and path in self._schema.by_path:
            spec = self._schema.by_path[path][1]
            other = other_module(stanza, spec)
            kind, defaults = (spec.type, spec.line_defaults) if other is None else (other.text, ())
        elif (known := catalogue().module_at(path)) is not None:
            kind = known
        name = scalar_text(replace(_string(words[0]), quote='"') if words else String(kind, '"', stanza.span))
        given = {each.name.text.lower() for each in stanza.body if isinstance(each, Option)}
        body = [each for each in defaults if each.partition(" ")[0] not in given]
        body += ["enabled = false"] if passive else []
        yield _Edit(stanza.head[0].span.start, stanza.head[-1].span.end, f"{kind} {name}")
        if body:
            brace = self._lexer.next_start(stanza.head_span.end)
            behind = self._behind(brace + 1)
            line_goes_on = _REST_OF_LINE.match(self._tree.source.text, behind) is None
            yield _Edit(behind, behind, "".join(f"\n{line}" for line in body) + ("\n" if line_goes_on else ""))

    def _behind(self, offset: int) -> int:
        """Return the offset after the comments on the line of an offset."""
        for comment in self._comments[bisect_left(self._comments, offset, key=attrgetter("start")) :]:
            if self._tree.source.text[offset : comment.start].strip(" \t"):
                break
            offset = comment.end
        return offset

    def _flatten(self, stanza: Stanza) -> Iterator[_Edit]:
        """`RFC2822 { date_header = x }` becomes `RFC2822_date_header = x`."""
        brace = self._lexer.next_start(stanza.head_span.end)
        yield _Edit(stanza.span.start, brace + 1, "")
        yield _Edit(stanza.span.end - 1, stanza.span.end, "")
        for statement in stanza.body:
            if isinstance(statement, Option):
                start = statement.name.span.start
                yield _Edit(start, start, f"{stanza.head[0].text}_")

    # ------------------------------------------------------------ listeners

    def _listener(self, option: Option) -> Iterator[_Edit]:
        """`ESMTP_Listener = ( *:25 … )` becomes `ESMTP_Listener { Listen "*:25" { … } }`; its comments go before it."""
        value = option.value if isinstance(option.value, List) else List((option.value,), option.value.span)
        trouble = Findings()
        node = from_list(value, trouble)
        for rule in (peer for listen in node.listens for peer in listen.peers):
            _check_network(rule, trouble)
        for diagnostic in trouble:
            self.findings.add(diagnostic)
        if trouble.errors:
            return
        span = option.span
        lines = [comment.text for comment in self._comments if span.start <= comment.start < span.end]
        lines.append(f"{option.name.text} {{")
        for listen in node.listens:
            lines.append(f"Listen {in_quotes(listen.address.text)} {{")
            lines += [_assignment(setting) for setting in listen.options]
            for network, options in self._unordered(listen):
                lines += [f"Peer {in_quotes(network)} {{", *map(_assignment, options.values()), "}"]
            lines.append("}")
        lines.append("}")
        yield _Edit(span.start, span.end, "\n".join(lines))

    def _unordered(self, listen: ListenNode) -> Iterator[tuple[str, dict[str, Option]]]:
        """Return options for each network so that specificity gives the same result as the rules in order.

        Networks that overlap lie inside each other. So a client in one, and in none inside it, meets the rules of those
        around it; what they come to is compared with what the `Peer` stanzas around it would give.
        """
        texts = {_network(rule): rule.network.text for rule in reversed(listen.peers)}
        in_force: dict[Cidr, dict[str, Option]] = {}
        needed: dict[Cidr, dict[str, Option]] = {}
        for network in sorted(texts, key=lambda cidr: cidr.prefixlen):
            around = [outer for outer in in_force if _holds(outer, network)]
            inherited = in_force[around[-1]] if around else {}
            meant = _meant(network, listen.peers)
            own = {name: option for name, option in meant.items() if inherited.get(name) != option}
            for name, option in inherited.items():
                fallback = option if name in meant else self._fallback(name, option, listen, str(network))
                if fallback is not None and fallback != option:
                    own[name] = fallback
            in_force[network], needed[network] = {**inherited, **own}, own
        for network in reversed(texts):
            if needed[network]:
                yield texts[network], needed[network]

    def _fallback(self, name: str, option: Option, listen: ListenNode, network: str) -> Option | None:
        """Return an option for an address without rules; warn if it has only an unknown default."""
        found = self._in_force(name, option, listen)
        if found is None:
            self.findings.add(errors.wider_rule_applies(option.name.text, network, option.span))
        return found

    def _in_force(self, name: str, option: Option, listen: ListenNode) -> Option | None:
        """Return an option for an address without rules; None if it has only an unknown default."""
        for statement in (*reversed(listen.options), *reversed(_options(self._tree.statements))):
            if statement.name.text.lower() == name:
                return replace(statement, name=option.name)
        if name == EXTENSIONS:
            return replace(option, value=List((), option.value.span))
        if self._schema is None or name not in names_of(self._schema.core):
            return None
        one = declared(self._schema.core)[names_of(self._schema.core)[name]]
        text = written(one.default, one.reader)
        return replace(option, value=_parsed_value(option.name.text, text)) if one.default is not None else None


def _parsed_value(name: str, text: str) -> Value:
    statement = parsed(Source("default", f"{name} = {text}")).statements[0]
    if not isinstance(statement, Option):
        raise TypeError(f"{text} is not a value")
    return statement.value


def _options(statements: tuple[Statement, ...]) -> list[Option]:
    return [statement for statement in statements if isinstance(statement, Option)]


def _meant(network: Cidr, rules: tuple[PeerNode, ...]) -> dict[str, Option]:
    """Return what the rules in written order set for the clients of a network that are in no network inside it."""
    options: dict[str, Option] = {}
    for rule in rules:
        if _holds(_network(rule), network):
            for option in rule.options:
                name = option.name.text.lower()
                options[name] = _joined(options.get(name), option) if name == EXTENSIONS else option
            if not rule.proceeds:
                break
    return options


def _joined(before: Option | None, option: Option) -> Option:
    """Return the extensions of two rules: the properties of rules add up."""
    values = [option.value] if before is None else [before.value, option.value]
    lists = [value.items for value in values if isinstance(value, List)]
    items = {item.text: item for extensions in lists for item in extensions if isinstance(item, Word | String)}
    return replace(option, value=List(tuple(items.values()), option.value.span))


def _assignment(option: Option) -> str:
    return f"{option.name.text} = {flat_text(option.value)}"


def _string(node: Scalar) -> String:
    return node if isinstance(node, String) else String(node.text, '"', node.span)


def _check_network(rule: PeerNode, findings: Findings) -> None:
    try:
        reader_for(Network).read(rule.network, ReadContext("Peer", findings))
    except Unreadable as wrong:
        wrong.report(findings)


def _network(rule: PeerNode) -> Cidr:
    return ip_network(rule.network.text, strict=False)


def _holds(wider: Cidr, network: Cidr) -> bool:
    if isinstance(wider, IPv4Network) and isinstance(network, IPv4Network):
        return network.subnet_of(wider)
    return isinstance(wider, IPv6Network) and isinstance(network, IPv6Network) and network.subnet_of(wider)
