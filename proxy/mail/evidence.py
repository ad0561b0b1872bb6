"""Evidence: what each module found about who sent a message, in the words of RFC 8601.

Modules write it with `report`. `Authentication-Results`, the log, the history and other modules read it. What was found
about the connection (iprev) belongs to the session, all else to the transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from proxy.metrics.book import BOOK
from proxy.metrics.metric import OTHER
from proxy.metrics.table import EVIDENCE, FOUND, METHOD

LONGEST_VALUE = 255
"""Characters of a property's value, a reason or a comment."""

MOST_RESULTS = 10
"""Results of one method that are kept: a message may have many signatures."""

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.:@-]{1,255}")
_FOREIGN = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~.:@ -]")


@dataclass(frozen=True, slots=True)
class Property:
    """What a result is about, such as `smtp.mailfrom=example.com`."""

    kind: str
    """`smtp`, `header`, `body` or `policy` (RFC 8601 section 2.3)."""
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Result:
    """One result of one method, such as `spf=pass smtp.mailfrom=example.com`."""

    method: str
    value: str
    """A word of RFC 8601 section 2.7, such as `pass`."""
    properties: tuple[Property, ...] = ()
    comment: str = ""
    """What people should know. It may quote strangers: whoever shows it escapes it."""

    def about(self, kind: str, name: str) -> str:
        """Return the value of a property; empty without it."""
        for each in self.properties:
            if each.kind == kind and each.name == name:
                return each.value
        return ""


Evidence = Mapping[str, tuple[Result, ...]]
"""The results of each method."""

NO_EVIDENCE: Evidence = MappingProxyType({})


class Finding(Protocol):
    """What a callback found, for the log: `proxy.callback.verdict.CallbackVerdict`."""

    status: Any
    reason: str

    @property
    def message(self) -> str:
        """The exchanger's words, or our own finding."""
        ...


class Subject(Protocol):
    """What evidence is about: a session or a transaction."""

    evidence: Evidence


def report(subject: Subject, method: str, *results: Result) -> None:
    """Record what a method found, instead of what it found before."""
    subject.evidence = MappingProxyType({**subject.evidence, method: results[:MOST_RESULTS]})
    for each in results[:MOST_RESULTS]:
        kind = method if method in METHOD.values else OTHER
        BOOK.counts[EVIDENCE.at(kind, each.value if each.value in FOUND.values else OTHER)] += 1


def found_by(method: str, *subjects: Subject) -> tuple[Result, ...]:
    """Return the results of a method; empty if it has none."""
    return tuple([result for subject in subjects for result in subject.evidence.get(method, ())])


def plain(value: str) -> str:
    """Return a value in the characters that need no quotes in a field. Others become `?`."""
    return value if _PLAIN_VALUE.fullmatch(value) else _FOREIGN.sub("?", value[:LONGEST_VALUE]).replace(" ", "?")


def plain_comment(text: str) -> str:
    """Return the text of a comment: no character in it ends the comment or begins another line."""
    return _FOREIGN.sub("?", text[:LONGEST_VALUE]).strip()


def all_of(*subjects: Subject) -> list[Result]:
    """Return all results, in the order in which they were found."""
    return [each for subject in subjects for results in subject.evidence.values() for each in results]


def in_short(results: Iterable[Result]) -> str:
    """Return results in one line: `spf=pass dkim=fail/example.com`."""
    return " ".join([_short(each) for each in results])


def in_full(results: Iterable[Result]) -> str:
    """Return results in one line, with what they are about: `spf=pass smtp.mailfrom=example.com; …`."""
    return "; ".join([_full(each) for each in results])


def _short(result: Result) -> str:
    domain = result.about("header", "d")
    return f"{result.method}={result.value}{f'/{plain(domain)}' if domain else ''}"


def _full(result: Result) -> str:
    comment = f" ({plain_comment(result.comment)})" if result.comment else ""
    about = "".join([f" {each.kind}.{each.name}={plain(each.value)}" for each in result.properties if each.value])
    return f"{result.method}={result.value}{comment}{about}"
