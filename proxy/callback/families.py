"""Addresses that stand for one mailbox: VERP, BATV, SRS and +tags change the local part with every message.

An exchanger that takes one member of a family takes the others, so a `pass` is shared. A refusal never is: it may be
about the tag, such as one that has expired.
"""

from __future__ import annotations

import re

_FORMS = (
    # BATV: prvs=0123ABCDEF=user (draft-levine-smtp-batv), btv1==xxx==user (Barracuda); user=0123ABCDEF is seen, too
    (re.compile(r"prvs=[0-9a-f]{6,12}=(?P<user>.+)", re.IGNORECASE), "batv:{user}"),
    (re.compile(r"btv1==[0-9a-f]{2,8}==(?P<user>.+)", re.IGNORECASE), "batv:{user}"),
    # SRS: SRS0=hash=time=domain=user, and SRS1 for the second hop; hash and time change
    (re.compile(r"SRS0[=+-][^=]+=[^=]+=(?P<domain>[^=]+)=(?P<user>.+)", re.IGNORECASE), "srs:{domain}={user}"),
    (re.compile(r"SRS1[=+-][^=]+=(?P<domain>[^=]+)==[^=]+=[^=]+=(?P<user>.+)", re.IGNORECASE), "srs:{domain}={user}"),
    # VERP: list-owner+reader=example.org, bounce-12345-reader=example.org
    (re.compile(r"(?P<user>[^=+]+)\+[^=]+=[^=@]+\.[^=@]+"), "verp:{user}"),
    (re.compile(r"(?P<user>[^=+]+?)-(?:[^=+]*[-.])?[^=+]+=[^=@]+\.[^=@]+"), "verp:{user}"),
    # +tag, and the numbers that mailing systems put behind a name: bounces-123456-7890
    (re.compile(r"(?P<user>[^+]+)\+.+"), "tag:{user}"),
    (re.compile(r"(?P<user>[a-z][a-z_.]*?)[-_.]?(?=[0-9a-f-]*[0-9])[0-9a-f]{4,}(?:[-_.][0-9a-f]+)+"), "verp:{user}"),
)


def family_of(local_part: str) -> str | None:
    """Return the name of the family that a local part belongs to, or None where it stands for itself."""
    for form, name in _FORMS:
        found = form.fullmatch(local_part)
        if found is not None:
            return name.format(**found.groupdict()).lower()
    return None


def families_about(local_part: str) -> list[str]:
    """Return the names of all families that hold something of a local part: its own, and those of its variants."""
    family, user = family_of(local_part), local_part.lower()
    return [family] if family is not None else [f"{kind}:{user}" for kind in ("batv", "verp", "tag")]
