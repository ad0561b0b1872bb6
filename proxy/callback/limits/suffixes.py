"""The registered domain of a name, by the Public Suffix List: `example.co.uk` for `mail.example.co.uk`.

The list is the one that the library tldextract carries. The library itself holds it as two trees of dictionaries, which
take 12 MB, and loads a client of HTTP to fetch newer ones. Here it is one set of 1 MB. A test compares both.
Source: https://github.com/publicsuffix/list/wiki/Format
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

_PRIVATE = "// ===BEGIN PRIVATE DOMAINS==="
"""What follows it are not suffixes of registries, but of companies that let their customers have subdomains."""

_ACE = "xn--"


def organisational(domain: str) -> str:
    """Return the registered domain, or what comes closest: the last two labels, or a suffix itself."""
    if domain.startswith("["):
        return domain
    labels = domain.split(".")
    return ".".join(labels[-_registered(tuple(map(_written, labels))) :])


def _registered(labels: tuple[str, ...]) -> int:
    """Return how many of the last labels are the registered domain: one more than the longest suffix has."""
    rules, most = _rules(), len(labels)
    for length in range(most, 0, -1):
        name = ".".join(labels[most - length :])
        if f"!{name}" in rules:
            return length
        if name in rules or f"*.{name.partition('.')[2]}" in rules:
            return min(length + 1, most)
    return 2


def _written(label: str) -> str:
    """Return a label as the list has it: not as an A-label (RFC 3492)."""
    if not label.startswith(_ACE):
        return label
    try:
        return label.removeprefix(_ACE).encode("ascii").decode("punycode")
    except UnicodeError:
        return label


@cache
def _rules() -> frozenset[str]:
    library = find_spec("tldextract")
    if library is None or library.origin is None:
        raise ModuleNotFoundError("tldextract", name="tldextract")
    text = Path(library.origin).with_name(".tld_set_snapshot").read_text(encoding="utf-8").partition(_PRIVATE)[0]
    return frozenset(line.strip().lower() for line in text.splitlines() if line and not line.startswith("//"))
