"""From the 2.2 dialect to that of 3.x and 4.x: module lines and listeners become stanzas, everything else stays.

The text is edited where it must change and then formatted, so comments and order are kept. What is loaded from the
result is what was loaded before. One thing has no exact counterpart: rules that apply in written order become `Peer`
stanzas, of which the most specific applies, option by option. Where the two differ, an option is written out or left
out so that they do not; where that cannot be done without knowing a default, a warning says which client it concerns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network

from config import errors
from config.acl import ListenNode, PeerNode, from_list
from config.diagnostics import Diagnostic, Source
from config.findings import Findings
from config.formatter import comments_of, format_text, parsed
from config.layout import flat_text, scalar_text
from config.lexer import Lexer
from config.nodes import List, Option, Scalar, Stanza, Statement, String, Tree, Value
from config.options import declared, names_of
from config.schema import Schema
from config.stanzas import is_module_line, take_passive
from config.writing import written

DIALECTS = ("4x",)
_REST_OF_LINE = re.compile(r"[ \t\r]*\n")
_LISTENER = "_listener"
_RFC2822 = "rfc2822"


@dataclass(frozen=True, slots=True)
class Converted:
    """The new text, and warnings about what could not be brought over exactly."""

    text: str
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def convert_text(text: str, to: str = "4x", *, name: str = "<text>", schema: Schema | None = None) -> str:
    """Return a text in the dialect of 3.x and 4.x.

    Raises:
        Unformattable: the text has mistakes.
        ValueError: `to` is no dialect that can be converted to.
    """
    return convert(text, to, name=name, schema=schema).text


def convert(text: str, to: str = "4x", *, name: str = "<text>", schema: Schema | None = None) -> Converted:
    """Convert a text, with warnings; `schema` gives the types of modules and the defaults that it knows.

    Raises:
        Unformattable: the text has mistakes.
        ValueError: `to` is no dialect that can be converted to.
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
        self._lexer = Lexer(tree.source, Findings())
        self._comments = list(comments_of(tree.source))

    def edits(self) -> Iterator[_Edit]:
        """Return what must change."""
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
        kind = path.rpartition("/")[2]
        if self._schema is not None and path in self._schema.by_path:
            kind = self._schema.by_path[path][1].type
        name = scalar_text(replace(_string(words[0]), quote='"') if words else String(kind, '"', stanza.span))
        body = ["enabled = false"] if passive else []
        yield _Edit(stanza.head[0].span.start, stanza.head[-1].span.end, f"{kind} {name}")
        if body:
            brace = self._lexer.next_start(stanza.head_span.end)
            behind = self._behind(brace + 1)
            line_goes_on = _REST_OF_LINE.match(self._tree.source.text, behind) is None
            yield _Edit(behind, behind, "".join(f"\n{line}" for line in body) + ("\n" if line_goes_on else ""))

    def _behind(self, offset: int) -> int:
        """Return the offset behind the comments that stand on the line of an offset."""
        for comment in self._comments:
            if comment.start >= offset and not self._tree.source.text[offset : comment.start].strip(" \t"):
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
        for found in trouble:
            self.findings.add(found)
        if trouble.errors:
            return
        span = option.span
        lines = [comment.text for comment in self._comments if span.start <= comment.start < span.end]
        lines.append(f"{option.name.text} {{")
        for listen in node.listens:
            lines.append(f'Listen "{listen.address.text}" {{')
            lines += [_assignment(each) for each in listen.options]
            for peer in self._unordered(listen):
                lines += [f'Peer "{peer.network.text}" {{', *(_assignment(each) for each in peer.options), "}"]
            lines.append("}")
        lines.append("}")
        yield _Edit(span.start, span.end, "\n".join(lines))

    def _unordered(self, listen: ListenNode) -> list[PeerNode]:
        """Return rules that mean by specificity what they meant in written order."""
        rules = [(rule, _network(rule.network)) for rule in listen.peers]
        result: list[PeerNode] = []
        for index, (rule, network) in enumerate(rules):
            if network is None:
                continue
            earlier = [other for other, wider in rules[:index] if wider is not None and _holds(wider, network)]
            if any(not other.proceeds for other in earlier):
                continue  # never reached: a wider rule ends the search before it
            later = [other for other, wider in rules[index + 1 :] if wider is not None and _holds(wider, network)]
            result.append(self._pinned(rule, later, listen))
        return result

    def _pinned(self, rule: PeerNode, wider: list[PeerNode], listen: ListenNode) -> PeerNode:
        """Return a rule that stands before wider ones with what they would change taken out or written out."""
        options = _last_of_each(rule.options)
        for other in wider:
            for name, option in _last_of_each(other.options).items():
                if rule.proceeds:
                    options.pop(name, None)
                elif name not in options:
                    fallback = self._in_force(name, option, listen)
                    if fallback is None:
                        self.findings.add(errors.wider_rule_applies(option.name.text, rule.network.text, option.span))
                    else:
                        options[name] = fallback
            if rule.proceeds and not other.proceeds:
                break
        return replace(rule, options=tuple(options.values()))

    def _in_force(self, name: str, option: Option, listen: ListenNode) -> Option | None:
        """Return the option that holds for an address without rules; None when only its default does, unknown here."""
        for statement in (*reversed(listen.options), *reversed(_options(self._tree.statements))):
            if statement.name.text.lower() == name:
                return replace(statement, name=option.name)
        if self._schema is None or name not in names_of(self._schema.core):
            return None
        one = declared(self._schema.core)[names_of(self._schema.core)[name]]
        text = written(one.default, one.reader)
        return replace(option, value=_parsed_value(option.name.text, text)) if one.default is not None else None


def _parsed_value(name: str, text: str) -> Value:
    statement = parsed(Source("default", f"{name} = {text}")).statements[0]
    if not isinstance(statement, Option):
        raise TypeError(f"{text} is no value")
    return statement.value


def _options(statements: tuple[Statement, ...]) -> list[Option]:
    return [statement for statement in statements if isinstance(statement, Option)]


def _last_of_each(options: tuple[Option, ...]) -> dict[str, Option]:
    return {option.name.text.lower(): option for option in options}


def _assignment(option: Option) -> str:
    return f"{option.name.text} = {flat_text(option.value)}"


def _string(node: Scalar) -> String:
    return node if isinstance(node, String) else String(node.text, '"', node.span)


def _network(node: Scalar) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(node.text, strict=False)
    except ValueError:
        return None


def _holds(wider: IPv4Network | IPv6Network, network: IPv4Network | IPv6Network) -> bool:
    if isinstance(wider, IPv4Network) and isinstance(network, IPv4Network):
        return network.subnet_of(wider)
    return isinstance(wider, IPv6Network) and isinstance(network, IPv6Network) and network.subnet_of(wider)
