"""The names under which verdicts and facts are kept, in memory and in a store; hashed if a secret is set."""

from __future__ import annotations

import hashlib

from proxy.callback.families import families_about, family_of
from proxy.callback.question import Question

PREFIX = "cbv"
_FAMILY = "family:"


class CacheKeys:
    """Makes keys. Addresses are personal data: with a secret, a key has only keyed hashes of their parts."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes = b"") -> None:
        self._secret = secret

    @property
    def hashed(self) -> bool:
        """Whether the keys tell no address."""
        return bool(self._secret)

    @property
    def mark(self) -> str:
        """Tell one secret from another, without telling it: keys made with another one mean nothing here."""
        return self._part("mark") if self._secret else ""

    def of(self, question: Question) -> str:
        """Return the key of a question."""
        if not self._secret:
            return f"{PREFIX} a {question.domain} {question.local_part} {question.sender}"
        part = self._part
        return f"{PREFIX} a {part(question.domain)} {part(question.local_part)} {part(question.sender)}"

    def of_family(self, question: Question) -> str | None:
        """Return the key that all members of the question's family share; None if it has no family."""
        family = family_of(question.local_part)
        if family is None:
            return None
        part = self._part
        return f"{PREFIX} a {part(question.domain)} {part(_FAMILY + family)} {part(question.sender)}"

    def of_domain(self, domain: str) -> str:
        """Return the key of what is known about a whole domain."""
        return f"{PREFIX} d {self._part(domain)}"

    def of_fact(self, fact: str, domain: str) -> str:
        """Return the key of one fact about a domain."""
        return f"{PREFIX} f {self._part(domain)} {fact}"

    def all_of(self, question: Question) -> list[str]:
        """Return every key that may answer a question, the closest one first."""
        family = self.of_family(question)
        own = [self.of(question), *([family] if family is not None else [])]
        return [*own, self.of_domain(question.domain)]

    def prefixes(self, domain: str, local_part: str) -> list[str]:
        """Return what the keys of an address and its families begin with, for any sender."""
        names = [local_part, *(_FAMILY + each for each in families_about(local_part))]
        return [f"{PREFIX} a {self._part(domain)} {self._part(name)} " for name in names]

    def prefix_of_domain(self, kind: str, domain: str) -> str:
        """Return what the keys of all addresses (`a`) or facts (`f`) of a domain begin with."""
        return f"{PREFIX} {kind} {self._part(domain)} "

    def _part(self, part: str) -> str:
        """Return a part of a key: unchanged, or as a keyed hash if a secret is set."""
        if not self._secret:
            return part
        octets = part.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(octets, key=self._secret, digest_size=16).hexdigest()
