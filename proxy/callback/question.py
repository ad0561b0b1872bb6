"""The question for an exchanger: what goes over the wire, and the cache key; or that there is nothing to ask."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from config.base.domains import a_labels, normal_domain
from proxy.callback.families import families_about, family_of
from proxy.callback.verdict import CallbackVerdict, Status
from sieve.message.spelling import spoken_local_part

PREFIX = "cbv"
"""What all keys begin with."""
_FAMILY = "family:"

_NO_ADDRESS = CallbackVerdict(Status.ERROR, "syntax", "not a mail address")


@dataclass(slots=True, unsafe_hash=True)
class Question:
    """Whether an address exists, asked with a given sender. It never changes; freezing it costs each message 1 µs."""

    local_part: str
    """In the form used for comparison: without unnecessary quotes."""
    domain: str
    """As DNS knows it: lower case A-labels, or an address literal."""
    sender: str
    """Empty for the null sender."""
    raw: bytes = field(default=b"", compare=False)
    """The address as it was given, with the quotes of its local part; empty if it was not given to us."""

    @property
    def address(self) -> str:
        """The address as sent to the exchanger."""
        said = self.raw.decode("utf-8", "surrogateescape").rpartition("@")[0]
        return f"{said or spoken_local_part(self.local_part)}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether it needs SMTPUTF8 (RFC 6531)."""
        return not (self.local_part.isascii() and self.sender.isascii())


class Mailbox(Protocol):
    """An address by SMTP's grammar: `proxy.mail.session.Path`."""

    raw: bytes
    local_part: str
    domain: str


def question_of(mailbox: Mailbox | None, said: str | None) -> Question | CallbackVerdict:
    """Return what to ask, or the verdict if there is nothing to ask. `said` is the sender, if it is an address."""
    if mailbox is None or said is None or not mailbox.domain:
        return _NO_ADDRESS
    domain = mailbox.domain
    if not domain.isascii():  # a path has its domain in A-labels, if there are any
        try:
            domain = ascii_domain(domain)
        except NoCandidate as none:
            return none.verdict
    return Question(mailbox.local_part, domain, said, mailbox.raw)


class NoCandidate(Exception):
    """Nothing can be probed; `verdict` says why."""

    def __init__(self, verdict: CallbackVerdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def ascii_domain(domain: str) -> str:
    """Return the domain as DNS knows it, in A-labels.

    Raises:
        NoCandidate: it has no such form, so it cannot exist.
    """
    if domain.startswith("["):
        return normal_domain(domain)
    try:
        return a_labels(domain)
    except UnicodeError:
        raise NoCandidate(CallbackVerdict(Status.FAIL, "nxdomain", "not a domain name", stage="dns")) from None


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
