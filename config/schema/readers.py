"""Read Python values from what an operator wrote: one reader per type, found by an option's annotation.

A reader raises `Unreadable` with a diagnostic. The binding reports it and continues with the next option.
"""

from __future__ import annotations

import ipaddress
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from config import errors
from config.base import hosts
from config.base.domains import a_labels
from config.base.ip import unmapped_network
from config.diagnostics import Diagnostic
from config.findings import Findings
from config.language.nodes import Attributes, Dictionary, List, Scalar, Stanza, String, Value, Word
from config.schema.momentum import catalogue
from config.schema.values import DomainPatterns, Endpoint, ValueKind

PATH_WANTED = "a path"
"""What an option of a file's path is said to take."""

_HIGHEST_PORT = 65535
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_LONGEST_SECONDS = 36_500 * 86_400.0
_LARGEST_BYTES = 1 << 50
"""Timers and files can count further, but a larger number is an error."""
_ON = frozenset({"on", "true", "enabled", "1", "yes"})
_OFF = frozenset({"off", "false", "disabled", "0", "no"})
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(ms|s|m|h|d|)", re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,15})(k|m|g|)b?", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_ENDPOINT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]]+))(?::(?P<port>\d{1,5}))?")
_PATTERN = re.compile(r"\*|\*?\.?(?:[\w-]+\.)*[\w-]+\.?")
_LOOKS_LIKE_NAME = re.compile(r"[A-Za-z0-9_*-]*[A-Za-z_*][\w.*-]*")


class Unreadable(Exception):  # the operator's error, not a failure
    """An unreadable value; without a diagnostic if its parts were already reported."""

    def __init__(self, diagnostic: Diagnostic | None = None) -> None:
        """Carry the diagnostic."""
        super().__init__(diagnostic.message if diagnostic else "")
        self.diagnostic = diagnostic

    def report(self, findings: Findings) -> None:
        """Add the diagnostic to what was found."""
        if self.diagnostic is not None:
            findings.add(self.diagnostic)


class NotOurs(Unreadable):
    """A value that Momentum has and Ringback does not, with a warning: the option is as if it were not set."""


@dataclass(frozen=True, slots=True)
class ReadContext:
    """Context for a reader: the option's name, where warnings go, and the options that it belongs to."""

    name: str
    findings: Findings
    model: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class ValueReader:
    """Reads values of one type; `wanted` names the type in messages and the reference.

    `stanza` reads the same from a stanza, if 4.x writes one; its values are added to the option's. `write` is the
    inverse, if it is not the plain one; `body` writes the lines of the stanza if no value says the same. A type of
    another package has its reader in its annotation:
    `Annotated[Thing, ValueReader(…)]`.
    """

    read: Callable[[Value, ReadContext], object]
    wanted: str
    stanza: Callable[[Stanza, ReadContext], tuple[object, ...]] | None = None
    write: Callable[[object], str] | None = None
    body: Callable[[Any], Sequence[str]] | None = None


def reader_for(annotation: object) -> ValueReader:
    """Return the reader of an option's annotation.

    Raises:
        TypeError: options cannot be declared with this type.
    """
    simple = _SIMPLE.get(annotation) if isinstance(annotation, type) else None
    if simple is not None:
        return simple
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        marks = [mark for mark in arguments[1:] if isinstance(mark, ValueKind | ValueReader)]
        mark = marks[0] if marks else reader_for(arguments[0])
        return _by_kind(mark) if isinstance(mark, ValueKind) else mark
    if origin is Literal:
        return one_of({str(choice): choice for choice in arguments})
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:  # tuple[X, ...]
        return _list(reader_for(arguments[0]))
    if origin is Mapping and arguments[0] is str:
        return _mapping(reader_for(arguments[1]))
    if origin in (Union, types.UnionType):
        return _either([reader_for(member) for member in arguments if member is not types.NoneType])
    raise TypeError(f"no option can be declared as {annotation!r}")


def declare(kind: ValueKind, reader: ValueReader) -> None:
    """Register the reader of a kind whose values contain options and which is defined above this module."""
    _BY_KIND[kind] = reader


def _by_kind(kind: ValueKind) -> ValueReader:
    if kind not in _BY_KIND:
        raise TypeError(f"no module that declares the reader of {kind} was imported")
    return _BY_KIND[kind]


# ---------------------------------------------------------------- forms


def _list(item: ValueReader) -> ValueReader:
    def read(value: Value, reading: ReadContext) -> tuple[object, ...]:
        return tuple(read_items(item, value, reading))

    return ValueReader(read, f"a list, each item {item.wanted}")


def read_items(item: ValueReader, value: Value, reading: ReadContext) -> list[object]:
    """Read every item of a list, reporting each error; one value without brackets is a list of one."""
    if isinstance(value, Dictionary | Attributes):
        raise Unreadable(errors.wrong_kind(reading.name, "a list ( … )", "a dictionary", value.span))
    items: Sequence[Value] = value.items if isinstance(value, List) else (value,)
    results, failed, foreign = [], False, False
    for part in _parted(items):
        try:
            results.append(item.read(part, reading))
        except Unreadable as wrong:
            failed = failed or not isinstance(wrong, NotOurs)
            foreign = foreign or isinstance(wrong, NotOurs)
            wrong.report(reading.findings)
    if failed:
        raise Unreadable
    if foreign and not results:
        raise NotOurs
    return results


def _parted(items: Sequence[Value]) -> list[Value]:
    """Split `a,b` into two items: the manual's lists have blanks, but some files have commas."""
    parted: list[Value] = []
    for item in items:
        if not isinstance(item, Word) or "," not in item.text:
            parted.append(item)
            continue
        start = item.span.start
        for text in item.text.split(","):
            if text:
                parted.append(Word(text, type(item.span)(item.span.source, start, start + len(text))))
            start += len(text) + 1
    return parted


def _mapping(item: ValueReader) -> ValueReader:
    def read(value: Value, reading: ReadContext) -> dict[str, object]:
        if not isinstance(value, Dictionary):
            raise Unreadable(
                errors.wrong_kind(reading.name, "a dictionary [ key = value ]", described(value), value.span)
            )
        mapping: dict[str, object] = {}
        first: dict[str, Value] = {}
        for entry in value.entries:
            key = entry.key.text
            if key in first and first[key] != entry.value:
                reading.findings.add(errors.repeated_key(key, entry.key.span, first[key].span))
            first[key] = entry.value
            mapping[key] = item.read(entry.value, reading)
        return mapping

    return ValueReader(read, f"a dictionary, each value {item.wanted}")


def _either(readers: Sequence[ValueReader]) -> ValueReader:
    if len(readers) == 1:
        return readers[0]

    def read(value: Value, reading: ReadContext) -> object:
        for reader in readers[:-1]:
            try:
                return reader.read(value, reading)
            except Unreadable:
                continue
        return readers[-1].read(value, reading)

    return ValueReader(read, " or ".join(reader.wanted for reader in readers))


def one_of(values: Mapping[str, object]) -> ValueReader:
    """Return the reader of one of several words, each with its value."""
    by_name = {name.lower(): value for name, value in values.items()}

    def read(value: Value, reading: ReadContext) -> object:
        text = scalar(value, reading, "one of its values").text
        if (reading.name.lower(), text.lower()) in catalogue().values and text.lower() not in by_name:
            raise NotOurs(errors.value_not_acted_on(reading.name, text, value.span))
        if text.lower() not in by_name:
            raise Unreadable(errors.not_one_of(reading.name, text, tuple(values), value.span))
        return by_name[text.lower()]

    return ValueReader(read, "one of " + ", ".join(values))


def is_off(value: Value) -> bool:
    """Return whether a value switches something off, or ignores what it would look for."""
    return isinstance(value, Word | String) and value.text.lower() in _OFF | {"ignore", "none"}


def scalar(value: Value, reading: ReadContext, wanted: str) -> Scalar:
    """Return the single word or string of a value."""
    if isinstance(value, Word | String):
        return value
    raise Unreadable(errors.wrong_kind(reading.name, wanted, described(value), value.span))


def described(value: Value) -> str:
    """Name the form of a value."""
    forms: dict[type, str] = {List: "a list", Dictionary: "a dictionary", Attributes: "attributes"}
    return forms.get(type(value), "a single value")


# ---------------------------------------------------------------- scalars


def _scalar_reader(wanted: str, parse: Callable[[Scalar, ReadContext], object]) -> ValueReader:
    def read(value: Value, reading: ReadContext) -> object:
        return parse(scalar(value, reading, wanted), reading)

    return ValueReader(read, wanted)


def _refuse(wanted: str, node: Scalar, hint: str) -> Unreadable:
    return Unreadable(errors.not_a(wanted, node.text, node.span, hint))


def _boolean(node: Scalar, _: ReadContext) -> bool:
    text = node.text.lower()
    if text in _ON or text in _OFF:
        return text in _ON
    raise _refuse("a switch", node, "write true or false (on/off, yes/no, enabled/disabled and 1/0 mean the same)")


def _integer(node: Scalar, _: ReadContext) -> int:
    if _INTEGER.fullmatch(node.text) is None:
        raise _refuse("a whole number", node, "write digits only, such as 100")
    return int(node.text)


def _number(node: Scalar, _: ReadContext) -> float:
    if re.fullmatch(r"[+-]?\d{1,18}(?:\.\d{1,18})?", node.text) is None:
        raise _refuse("a number", node, "write digits, such as 0.5")
    return float(node.text)


def _seconds(node: Scalar, _: ReadContext) -> float:
    match = _DURATION.fullmatch(node.text)
    if match is None:
        raise _refuse("a duration", node, "write seconds, or a number with its unit: 500ms, 30s, 5m, 2h, 1d")
    seconds = float(match[1]) * _SECONDS[match[2].lower()]
    if seconds > _LONGEST_SECONDS:
        raise _refuse("a duration that ends", node, "write 36500d at most")
    return seconds


def _bytes(node: Scalar, _: ReadContext) -> int:
    match = _SIZE.fullmatch(node.text)
    if match is None:
        raise _refuse("a size", node, "write bytes, or a number with its unit: 10K, 25M, 1G")
    octets = int(match[1]) * _BYTES[match[2].lower()]
    if octets > _LARGEST_BYTES:
        raise _refuse("a size that anything has", node, "write 1048576G at most")
    return octets


def _file_mode(node: Scalar, _: ReadContext) -> int:
    if re.fullmatch(r"[0-7]{3,4}", node.text) is None:
        raise _refuse("a file mode", node, "write permissions in octal, such as 0660")
    return int(node.text, 8)


def _network(node: Scalar, reading: ReadContext) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    text = node.text
    if text.startswith("["):
        raise _refuse(
            "an address or a network", node, f"write {text.strip('[]')}: brackets are only for an address with a port"
        )
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if _LOOKS_LIKE_NAME.fullmatch(text) is not None:
            raise Unreadable(errors.name_for_network(text, node.span)) from None
        raise _refuse("an address or a network", node, "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32") from None
    address, slash, _ = text.partition("/")
    if slash and ipaddress.ip_address(address) != network.network_address:
        reading.findings.add(errors.host_bits_are_set(text, str(network), node.span))
    return unmapped_network(network)


def _endpoint(node: Scalar, _: ReadContext) -> Endpoint:
    text = node.text
    if text.count(":") > 1 and not text.startswith("["):
        try:
            return Endpoint(str(ipaddress.IPv6Address(text)))
        except ValueError:
            raise _refuse("a host", node, "write an IPv6 address with a port as [::1]:25") from None
    match = _ENDPOINT.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 1) <= _HIGHEST_PORT:
        raise _refuse("a host", node, "write host or host:port, such as mx.example.com:25, 192.0.2.7 or [::1]:25")
    hint = hosts.what_to_write(match["six"] or match["host"])
    if hint is not None:
        raise _refuse("a host", node, hint)
    return Endpoint(match["six"] or match["host"], int(match["port"]) if match["port"] else None)


def _path(node: Scalar, _: ReadContext) -> Path:
    if not node.text:
        raise _refuse("a path", node, "write a file's path")
    return Path(node.span.source.name).parent / node.text


def _pattern(node: Scalar, reading: ReadContext) -> str:
    if not _is_pattern(node.text):
        raise _refuse(
            "a domain", node, "write example.com, *.example.com for all below it, or *example.com for its end"
        )
    if node.text == "*":
        reading.findings.add(errors.matches_every_domain(node.span))
    return node.text


def _is_pattern(text: str) -> bool:
    """Whether a text is a domain pattern; U-labels may contain vowel signs and full stops of other scripts."""
    domain = text.lstrip("*.")
    if not domain.isascii():
        try:
            text = text[: len(text) - len(domain)] + a_labels(domain)
        except UnicodeError:
            return False
    return _PATTERN.fullmatch(text) is not None


def _patterns(value: Value, reading: ReadContext) -> DomainPatterns:
    return DomainPatterns(str(each) for each in read_items(_PATTERN_READER, value, reading))


_PATTERN_READER = _scalar_reader("a domain", _pattern)
_BY_KIND = {
    ValueKind.SECONDS: _scalar_reader("a duration", _seconds),
    ValueKind.BYTES: _scalar_reader("a size", _bytes),
    ValueKind.FILE_MODE: ValueReader(
        _scalar_reader("a file mode", _file_mode).read, "a file mode", write="{:04o}".format
    ),
    ValueKind.NETWORK: _scalar_reader("an address or a network", _network),
    ValueKind.PATH: _scalar_reader(PATH_WANTED, _path),
}
_SIMPLE: dict[type, ValueReader] = {
    bool: _scalar_reader("a switch", _boolean),
    int: _scalar_reader("a whole number", _integer),
    float: _scalar_reader("a number", _number),
    str: _scalar_reader("a text", lambda node, _: node.text),
    Endpoint: _scalar_reader("a host", _endpoint),
    DomainPatterns: ValueReader(_patterns, "a list of domains"),
}
