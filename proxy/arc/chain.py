"""The ARC sets of a header section, and whether they have the form of a chain (RFC 8617 section 5.2, steps 1 to 3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.dkim import signature as signatures
from proxy.dkim import tags
from proxy.dkim.canonical import signed_header
from proxy.dkim.signature import SHA256, Signature, Unusable
from proxy.dkim.tags import BadTags
from proxy.mail.fields import Field

RESULTS, MESSAGE_SIGNATURE, SEAL = "arc-authentication-results", "arc-message-signature", "arc-seal"
NAMES = frozenset({RESULTS, MESSAGE_SIGNATURE, SEAL})

MOST_SETS = 50
"""Sets of a message (RFC 8617 section 4.2.1)."""

MOST_OCTETS = 256 * 1024
"""Octets of all ARC fields together: each seal covers all older ones."""

_INSTANCE = re.compile(r"[ \t\r\n]*i[ \t\r\n]*=[ \t\r\n]*([1-9][0-9]?)[ \t\r\n]*;")


class Broken(ValueError):
    """The chain fails, whatever its signatures say."""


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One set: the fields that one sealer added."""

    instance: int
    results: Field
    message_field: Field
    seal_field: Field
    message_signature: Signature
    seal: Signature
    claimed: str
    """`cv=`: what the sealer found."""

    @property
    def fields(self) -> tuple[Field, Field, Field]:
        """Its fields in the order in which a seal covers them."""
        return self.results, self.message_field, self.seal_field


def chain_of(fields: Sequence[Field]) -> tuple[ArcSet, ...]:
    """Return the sets from the oldest to the newest; nothing if the message has none.

    Raises:
        Broken: they are not a chain, or the newest sealer found that it was broken.
    """
    ours = [each for each in fields if each.name.lower() in NAMES]
    if not ours:
        return ()
    if len(ours) > 3 * MOST_SETS or sum([len(each.raw) for each in ours]) > MOST_OCTETS:
        raise Broken("there are too many ARC fields")
    grouped: dict[int, dict[str, Field]] = {}
    for each in ours:
        kind, instance = each.name.lower(), _instance(each)
        if kind in grouped.setdefault(instance, {}):
            raise Broken(f"set {instance} has two fields {each.name}")
        grouped[instance][kind] = each
    if sorted(grouped) != list(range(1, len(grouped) + 1)):
        raise Broken("the sets are not numbered from 1 on")
    sets = tuple([_set(number, grouped[number]) for number in sorted(grouped)])
    _check_claims(sets)
    return sets


def _instance(field: Field) -> int:
    found = _INSTANCE.match(field.raw.partition(b":")[2].decode("latin-1"))
    if found is not None:
        return int(found[1])
    try:
        text = tags.parse(field.raw.partition(b":")[2]).get("i", "")
    except BadTags:
        text = ""
    if re.fullmatch(r"[1-9][0-9]?", text) is None:
        raise Broken(f"{field.name} has no number of a set")
    return int(text)


def _set(number: int, fields: dict[str, Field]) -> ArcSet:
    missing = sorted(NAMES - fields.keys())
    if missing:
        raise Broken(f"set {number} has no field {missing[0]}")
    message_field, seal_field = fields[MESSAGE_SIGNATURE], fields[SEAL]
    try:
        message_signature = _message_signature(message_field)
        seal, claimed = _seal(seal_field)
    except (BadTags, Unusable) as bad:
        raise Broken(f"set {number}: {bad}") from None
    return ArcSet(number, fields[RESULTS], message_field, seal_field, message_signature, seal, claimed)


def _message_signature(field: Field) -> Signature:
    """Read a field that is a DKIM signature but for `v=`, and whose `i=` is a number (section 4.1.2)."""
    found = tags.parse(field.raw.partition(b":")[2])
    found.pop("i", None)
    signature = signatures.of_tags({**found, "v": "1"})
    if SEAL in signature.header_names:
        raise Unusable("a message signature must not cover a seal")
    return _by_sha256(signature)


def _seal(field: Field) -> tuple[Signature, str]:
    """Read a seal, which covers no body and names no fields (section 4.1.3)."""
    found = tags.parse(field.raw.partition(b":")[2])
    if "h" in found or "bh" in found:
        raise Unusable("a seal must not have h= or bh=")
    claimed = found.pop("cv", "").lower()
    if claimed not in {"none", "pass", "fail"}:
        raise Unusable("cv= is missing")
    known = {name: value for name, value in found.items() if name in {"a", "b", "d", "s"}}
    return _by_sha256(signatures.of_tags(known | {"v": "1", "bh": "AA==", "h": "from", "c": "relaxed"})), claimed


def _by_sha256(signature: Signature) -> Signature:
    if signature.hash_name != SHA256:
        raise Unusable("rsa-sha1 is not accepted")
    return signature


def _check_claims(sets: Sequence[ArcSet]) -> None:
    """Check `cv=`: none in the first set, pass in all others (section 5.2, steps 2 and 3)."""
    if sets[-1].claimed == "fail":
        raise Broken("the newest sealer found the chain broken")
    for each in sets:
        if each.claimed != ("none" if each.instance == 1 else "pass"):
            raise Broken(f"cv= of set {each.instance} is {each.claimed}")


def signed_by(fields: Sequence[Field], newest: ArcSet) -> bytes:
    """Return what the newest message signature covers, without the body."""
    others = [each for each in fields if each is not newest.message_field]
    signature = newest.message_signature
    return signed_header(others, newest.message_field.raw, signature.header_names, signature.header_canon)
