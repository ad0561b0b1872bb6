"""Address families: VERP, BATV, SRS and +tags change the local part of one mailbox with every message.

An exchanger that accepts one member of a family accepts the others, so a `pass` is shared. A refusal is not: it may be
about the tag, for example an expired one.
"""

from __future__ import annotations

import re
from functools import lru_cache

import re2

LONGEST = 256
"""Characters of a local part that are examined: no path may be longer (RFC 5321 section 4.5.3.1.3)."""

_DIGIT_FIRST = (
    r"(?:[0-9][0-9a-f]{3,}|[a-f][0-9][0-9a-f]{2,}|[a-f]{2}[0-9][0-9a-f]+|[a-f]{3,}[0-9][0-9a-f]*)(?:[-_.][0-9a-f]+)+"
)
_DIGIT_LATER = r"[a-f]{4,}(?:-[a-f]+)*-[a-f]*[0-9][0-9a-f]*(?:[-_.][0-9a-f]+)*"
"""Hexadecimal: at least four characters first, with a digit there or after a `-`. RE2 has no lookahead."""


def _form(pattern: str) -> re.Pattern[str]:
    """Compile for RE2, which runs in linear time: strangers choose the input, and `re` took 0.45 s for 500 `-`."""
    options = re2.Options()
    options.log_errors = False
    found: re.Pattern[str] = re2.compile(pattern, options)
    return found


_FORMS = (
    # BATV: prvs=0123ABCDEF=user (draft-levine-smtp-batv), btv1==xxx==user (Barracuda); user=0123ABCDEF occurs too
    (_form(r"(?i)prvs=[0-9a-f]{6,12}=(?P<user>.+)"), "batv:{user}"),
    (_form(r"(?i)btv1==[0-9a-f]{2,8}==(?P<user>.+)"), "batv:{user}"),
    # SRS: SRS0=hash=time=domain=user, and SRS1 for the second hop; hash and time change
    (_form(r"(?i)SRS0[=+-][^=]+=[^=]+=(?P<domain>[^=]+)=(?P<user>.+)"), "srs:{domain}={user}"),
    (_form(r"(?i)SRS1[=+-][^=]+=(?P<domain>[^=]+)==[^=]+=[^=]+=(?P<user>.+)"), "srs:{domain}={user}"),
    # VERP: list-owner+reader=example.org, bounce-12345-reader=example.org
    (_form(r"(?P<user>[^=+]+)\+[^=]+=[^=@]+\.[^=@]+"), "verp:{user}"),
    (_form(r"(?P<user>[^=+]+?)-(?:[^=+]*[-.])?[^=+]+=[^=@]+\.[^=@]+"), "verp:{user}"),
    # +tag, and the numbers that mailing systems add to a name: bounces-123456-7890
    (_form(r"(?P<user>[^+]+)\+.+"), "tag:{user}"),
    (_form(rf"(?P<user>[a-z][a-z_.]*?)[-_.]?(?:{_DIGIT_FIRST}|{_DIGIT_LATER})"), "verp:{user}"),
)


def family_of(local_part: str) -> str | None:
    """Return the name of the family that a local part belongs to, or None if it has none."""
    found = _membership(local_part)
    return None if found is None else found[0].lower()


def mailbox_of(local_part: str) -> str:
    """Return the local part without its tag, BATV or VERP; unchanged if it has none."""
    found = _membership(local_part)
    return local_part if found is None or found[0].startswith("srs:") else found[1]


@lru_cache(maxsize=1024)
def _membership(local_part: str) -> tuple[str, str] | None:
    """Return the family's name and the user in it. A probe asks three times, and the forms take 30 µs."""
    if len(local_part) > LONGEST or not _is_unicode(local_part):
        return None
    for form, name in _FORMS:
        found = form.fullmatch(local_part)
        if found is not None:
            return name.format(**found.groupdict()), found["user"]
    return None


def _is_unicode(text: str) -> bool:
    """Whether RE2 accepts the text; bytes that are not UTF-8 are surrogates here."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def families_about(local_part: str) -> list[str]:
    """Return the names of all families related to a local part: its own, or the families of its variants."""
    family, user = family_of(local_part), local_part.lower()
    return [family] if family is not None else [f"{kind}:{user}" for kind in ("batv", "verp", "tag")]
