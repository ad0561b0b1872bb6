"""Networks as people write them in lists, and the lines of rbldnsd's files (rbldnsd(8), ip4set and ip6trie).

`Gathered` collects networks with their values. Any order is allowed: the most specific network decides later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_pton

EXCLUDED = 0xFFFF_FFFF
"""The value of a network that is not listed. It is the highest, because it wins over a value of the same network."""

MOST_NETWORKS = 20_000_000

SIX_BITS = 128
_FOUR_BITS = 32
_MAPPED = 0xFFFF << 32
"""IPv4 addresses as IPv6 (RFC 4291, 2.5.5.2)."""

_LONGEST_VALUE = 2000
_MOST_DIGITS = 20
"""Digits of a number in a file. Python refuses to read thousands."""
_DATASETS = frozenset({"ip4set", "ip4trie", "ip4tset", "ip6trie", "ip6tset"})
_USUAL = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+\.[0-9]+)(?:/([0-9]{1,2}))?")
_PREFIX = re.compile(r"(\d{1,3})(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?(?:\.(\d{1,3}))?")


class NotANetwork(ValueError):
    """The text is not a network."""


class TooMany(Exception):
    """A list has more than MOST_NETWORKS networks."""


@dataclass(slots=True)
class Gathered:
    """Networks, each one integer that sorts by address, then by length, then by the number of its value."""

    keeps_values: bool = True
    """A list without values has one, so that neighbours join."""
    four: list[int] = field(default_factory=list)
    six: list[int] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    """Each value's number, in the order of appearance."""
    skipped: int = 0
    """Lines that are not networks."""
    first_skipped: str = ""

    def __len__(self) -> int:
        return len(self.four) + len(self.six)

    def number(self, value: str) -> int:
        """Return a value's number."""
        return self.values.setdefault(value[:_LONGEST_VALUE] if self.keeps_values else "", len(self.values))

    def add(self, text: str, number: int, smallest_prefix: int = 0) -> None:
        """Add what a text lists.

        Raises:
            NotANetwork: it is not an address, network or range.
            TooMany: there are too many.
        """
        for bits, start, length in blocks(text):
            if bits == _FOUR_BITS:
                if length < smallest_prefix:
                    raise NotANetwork(text)
                self.four.append((start << 6 | length) << 32 | number)
            else:
                self.six.append((start << 8 | length) << 32 | number)
        if len(self.four) + len(self.six) > MOST_NETWORKS:
            raise TooMany

    def add_usual(self, text: str, number: int) -> bool:
        """Add an IPv4 address or network, as nearly all are; tell whether it is one. `add` takes twice the time."""
        match = _USUAL.fullmatch(text)
        if match is None:
            return False
        address, length = match.groups("32")
        bits = int(length)
        if bits > _FOUR_BITS:
            return False
        try:
            start = int.from_bytes(inet_pton(AF_INET, address)) >> (32 - bits) << (32 - bits)
        except OSError:
            return False
        self.four.append((start << 6 | bits) << 32 | number)
        return True

    def skip(self, where: str) -> None:
        """Count a line that cannot be read."""
        self.skipped += 1
        self.first_skipped = self.first_skipped or where


def blocks(text: str) -> list[tuple[int, int, int]]:
    """Return the networks that a text lists: bits of the family, first address, prefix length.

    An IPv4 prefix or range may be short, as in rbldnsd(8): `10.1`, `10.1-10.3`, `192.0.2.1-9`. Bits after the prefix
    are dropped. IPv4-mapped IPv6 is IPv4.

    Raises:
        NotANetwork: the text is not a network.
    """
    address, slash, length = text.partition("/")
    try:
        if ":" in address:
            return [_six(address, length if slash else None)]
        if "-" in address and not slash:
            return _range(*address.split("-", 1))
        return [_four(address, length if slash else None)]
    except (ValueError, OSError):
        raise NotANetwork(text) from None


def _four(address: str, length: str | None) -> tuple[int, int, int]:
    if address.count(".") == 3:
        start, bits = int.from_bytes(inet_pton(AF_INET, address)), 32
    else:
        start, bits = _prefix(address)
        if bits == 8 and length is None:  # a bare number is a mistake rather than a /8
            raise NotANetwork(address)
    if length is not None:
        bits = _length(length, 32)
    return _FOUR_BITS, start >> (32 - bits) << (32 - bits), bits


def _six(address: str, length: str | None) -> tuple[int, int, int]:
    bits = SIX_BITS
    if "::" not in address and address.count(":") < 7 and "." not in address:
        bits = 16 * len(address.split(":"))
        address += "::"
    start = int.from_bytes(inet_pton(AF_INET6, address))
    if length is not None:
        bits = _length(length, SIX_BITS)
    if start >> 32 == _MAPPED >> 32 and bits >= 96:
        four = bits - 96
        return _FOUR_BITS, (start & 0xFFFF_FFFF) >> (32 - four) << (32 - four), four
    return SIX_BITS, start >> (SIX_BITS - bits) << (SIX_BITS - bits), bits


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 3 or int(text) > most:
        raise NotANetwork(text)
    return int(text)


def _prefix(text: str) -> tuple[int, int]:
    """Return the first address of `10`, `10.1` or `10.1.2`, and how many bits are given."""
    match = _PREFIX.fullmatch(text)
    if match is None:
        raise NotANetwork(text)
    octets = [int(each) for each in match.groups() if each is not None]
    if max(octets) > 255:
        raise NotANetwork(text)
    return int.from_bytes(bytes(octets) + bytes(4 - len(octets))), 8 * len(octets)


def _range(first: str, last: str) -> list[tuple[int, int, int]]:
    """Return the blocks of a range. A last part with one octet is the last given octet of the first."""
    start, bits = _prefix(first)
    end, end_bits = _prefix(last)
    if end_bits == 8:
        end = (end >> (bits - 8)) | (start >> (40 - bits) << (40 - bits) if bits > 8 else 0)
    elif end_bits != bits:
        raise NotANetwork(last)
    end |= (1 << (32 - bits)) - 1
    if start > end:
        raise NotANetwork(last)
    found = []
    while start <= end:
        size = min((start & -start).bit_length() - 1 if start else 32, (end - start + 1).bit_length() - 1)
        found.append((_FOUR_BITS, start, 32 - size))
        start += 1 << size
    return found


# ---------------------------------------------------------------- rbldnsd's files


@dataclass(slots=True)
class _Scope:
    """What holds for the lines of a dataset."""

    a: str = "127.0.0.2"
    text: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    base: str = ""
    smallest_prefix: int = 0
    is_read: bool = True


def read_rbldnsd(lines: Iterable[str], want: str, into: Gathered) -> None:
    """Gather the lines of a file; `want` is `a` or `txt`. Lines that are no networks are counted and left out.

    Raises:
        TooMany: there are too many networks.
    """
    reader = _Rbldnsd(want, into)
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not number & 0xFFFF and len(into) > MOST_NETWORKS:
            raise TooMany
        if not stripped or stripped[0] in "#;":
            continue
        try:
            if not reader.read_usual(stripped):
                reader.read(stripped)
        except NotANetwork:
            into.skip(f"line {number}: {stripped[:80]}")


class _Rbldnsd:
    """Reads line after line. A scope's defaults hold until the next dataset."""

    def __init__(self, want: str, into: Gathered) -> None:
        self._wants_text = want == "txt"
        self._into = into
        self._common = self._scope = _Scope()
        self._default: int | None = None
        """The number of the default value, once it is needed."""

    def read_usual(self, line: str) -> bool:
        """Read an IPv4 address or network without a value, as nearly all lines are; tell whether it is one."""
        if not self._scope.is_read or self._scope.smallest_prefix:
            return False
        number = self._default
        return self._into.add_usual(line, self._value("") if number is None else number)

    def read(self, line: str) -> None:
        first = line[0]
        if first == "$":
            self._special(line)
        elif not self._scope.is_read:
            return
        elif first == ":" and line[1:2] != ":":
            self._scope.a, self._scope.text = self._parts(line)
            self._default = None
        elif first == "!":
            entry, _ = _entry(line[1:].lstrip())
            self._into.add(entry, EXCLUDED)
        else:
            entry, rest = _entry(line)
            self._into.add(entry, self._value(rest), self._scope.smallest_prefix)

    def _value(self, rest: str) -> int:
        """Return the number of a line's value."""
        if not rest or rest[0] in "#;":
            if self._default is None:
                self._default = self._into.number(self._shown(self._scope.a, self._scope.text))
            return self._default
        return self._into.number(self._shown(*self._parts(rest)))

    def _parts(self, value: str) -> tuple[str, str]:
        """Return the A value and the text of `:A:text` or `text`; what is missing is the scope's."""
        if value[0] != ":":
            return self._scope.a, value
        a, colon, text = value[1:].partition(":")
        a = a.strip()
        if len(a) <= 3 and a.isascii() and a.isdigit() and int(a) <= 255:
            a = f"127.0.0.{a}"
        return a or self._scope.a, text.strip() if colon else self._scope.text

    def _shown(self, a: str, text: str) -> str:
        """Return the value with its variables. `$` alone stays: it is the address that is asked about."""
        if not self._wants_text:
            return a
        if text.startswith("="):
            text = text[1:]
        elif self._scope.base:
            text = self._scope.base.replace("$=", text)
        return _VARIABLE.sub(self._variable, text) if "$" in text else text

    def _variable(self, match: re.Match[str]) -> str:
        return self._scope.variables.get(match[1], "") if match[1] else match[0]

    def _special(self, line: str) -> None:
        """Take what changes the meaning of lines: variables, the largest range, the type of the dataset."""
        word, _, rest = line[1:].partition(" ")
        word, rest = word.upper(), rest.strip()
        scope = self._scope
        if word == "DATASET":
            kind = rest.partition(" ")[0].partition(":")[0].lower()
            common = self._common
            self._scope = _Scope(variables=dict(common.variables), base=common.base, is_read=kind in _DATASETS)
            self._default = None
        elif word == "=":
            scope.base = rest
        elif len(word) == 1 and word.isdigit():
            scope.variables[word] = rest
        elif word == "MAXRANGE4":
            scope.smallest_prefix = _smallest_prefix(rest)


_VARIABLE = re.compile(r"\$(?:\$|([0-9]))")


_FOUR = re.compile(r"[0-9][0-9./-]*")


def _entry(line: str) -> tuple[str, str]:
    """Return the network of a line, and its value. After an IPv6 network, a space comes before the value.

    Raises:
        NotANetwork: something else follows the network.
    """
    four = _FOUR.match(line)
    if four is not None and not four[0].isdigit():
        entry, rest = four[0], line[four.end() :]
    else:
        entry = line.split(maxsplit=1)[0] if line else ""
        rest = line[len(entry) :]
    if rest and rest[0] not in " \t:#;":
        raise NotANetwork(line)
    return entry, rest.strip()


def _smallest_prefix(text: str) -> int:
    """Return the prefix length that `/8` or a number of addresses means."""
    number = text.removeprefix("/")
    if not (number.isascii() and number.isdigit()) or len(number) > _MOST_DIGITS:
        return 0
    return min(int(number), 32) if text.startswith("/") else max(0, 33 - max(1, int(number)).bit_length())


def lines_of(text: Iterable[bytes]) -> Iterator[str]:
    """Yield a file's lines as text. Octets that are not UTF-8 stay in a value, escaped."""
    for line in text:
        yield line.decode("utf-8", "backslashreplace")
