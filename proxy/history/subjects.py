"""Subjects of a search: from what people type to the form in which log and history have them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress

from config.base.ip import read_address, unmapped
from proxy.base.log import printable
from sieve.message.spelling import canonical

_AROUND = " \t\r\n,;"
_TRANSACTION = re.compile(r"([0-9a-z]{6,}-[0-9a-z]+)\.[0-9]+")
"""A session's name, and the number of a transaction."""


_BEGINNING = re.compile(r"[0-9a-v]{8,11}(-[0-9a-f]*)?")
"""The beginning of a session's name. Eight characters are enough: they give the time to within seconds."""


def beginning_of(subject: str) -> str:
    """Return what a session's name may begin with, if it was cut; else nothing."""
    given = subject.strip(_AROUND).lower()
    return given if _BEGINNING.fullmatch(given) else ""


def is_nobody(subject: str) -> bool:
    """Whether a subject is the null sender, or nothing at all."""
    return not subject.strip(_AROUND + "<>")


def spellings(subject: str) -> list[str]:
    """Return what the history may call a subject: an address, client, session, Message-ID or queue id."""
    given = unicodedata.normalize("NFC", subject.strip(_AROUND))
    if given.startswith("<") and given.endswith(">"):
        given = given[1:-1].strip(_AROUND)
    return list(dict.fromkeys(printable(each) for each in _forms(given)))


def _forms(given: str) -> Iterator[str]:
    yield given
    yield given.lower()  # before letters become escapes, which have no capitals
    with suppress(ValueError):
        yield str(unmapped(read_address(given.strip("[]").lower().removeprefix("ipv6:"))))
    found = _TRANSACTION.fullmatch(given.lower())
    if found is not None:
        yield found[1]
    if "@" in given:
        text = canonical(_without_route(given))  # as SMTP reads it: A-labels, no needless quotes
        yield text
        yield text.lower()


def _without_route(path: str) -> str:
    return path.partition(":")[2] if path.startswith("@") else path
