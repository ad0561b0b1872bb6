"""A DMARC policy record as text, and what it says (RFC 9989 section 4.7 and 4.8)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """What a domain's owner asks for, from the mildest on."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def milder(self) -> Policy:
        """One level below, as `t=y` asks."""
        return _MILDER[self]

    @property
    def level(self) -> int:
        """Its place: 0 is the mildest."""
        return _LEVELS[self]


_MILDER = {Policy.NONE: Policy.NONE, Policy.QUARANTINE: Policy.NONE, Policy.REJECT: Policy.QUARANTINE}
_LEVELS = {policy: level for level, policy in enumerate(Policy)}


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What a record asks for. `sp` and `np` are None if absent; `psd` is `y`, `n` or `u`."""

    p: Policy = Policy.NONE
    sp: Policy | None = None
    np: Policy | None = None
    psd: str = "u"
    strict_dkim: bool = False
    strict_spf: bool = False
    testing: bool = False
    reports: tuple[str, ...] = ()
    """The valid URIs of `rua`."""

    def asks(self, *, is_own: bool, exists: bool) -> Policy:
        """Return the policy as published, for the record's own domain, a subdomain, or one that does not exist."""
        if is_own:
            return self.p
        of_subdomains = self.sp or self.p
        return of_subdomains if exists else self.np or of_subdomains


MOST_OCTETS = 4096
"""Longer records are cut: no policy needs more."""

MOST_REPORTS = 10

_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|$)")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s,!;]+(?:![0-9]+[kmgt]?)?", re.IGNORECASE)


def is_policy(text: str) -> bool:
    """Whether a TXT record is a DMARC record: `v=DMARC1` comes first, in this letter case."""
    return _VERSION.match(text) is not None


def read(texts: Sequence[str]) -> PolicyRecord | None:
    """Return the one policy record among the TXT records of a name; None if it has no record, or several."""
    found = [text for text in texts if is_policy(text)]
    return parse(found[0]) if len(found) == 1 else None


def parse(text: str) -> PolicyRecord:
    """Read a record that begins with the version. What is not valid counts as absent; `pct`, `rf` and `ri` are history.

    A record without `p` has `p=none`. One whose `p`, `sp` or `np` is not valid asks for nothing (section 4.10.1).
    """
    tags = _tags(text[:MOST_OCTETS])
    policies = {name: _policy(tags[name]) for name in ("p", "sp", "np") if name in tags}
    sound = None not in policies.values()
    psd = tags.get("psd", "").lower()
    return PolicyRecord(
        p=(policies.get("p") if sound else None) or Policy.NONE,
        sp=policies.get("sp") if sound else None,
        np=policies.get("np") if sound else None,
        psd=psd if psd in {"y", "n"} else "u",
        strict_dkim=tags.get("adkim", "").lower() == "s",
        strict_spf=tags.get("aspf", "").lower() == "s",
        testing=tags.get("t", "").lower() == "y",
        reports=_reports(tags.get("rua", "")),
    )


def _tags(text: str) -> dict[str, str]:
    """Return the tags after the version. Of a tag that is there twice, the first counts."""
    tags: dict[str, str] = {}
    for part in text.split(";")[1:]:
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    return tags


def _policy(text: str) -> Policy | None:
    try:
        return Policy(text.lower())
    except ValueError:
        return None


def _reports(text: str) -> tuple[str, ...]:
    found = [each.strip(" \t") for each in text.split(",", MOST_REPORTS)[:MOST_REPORTS]]
    return tuple([each for each in found if _URI.fullmatch(each) is not None])
