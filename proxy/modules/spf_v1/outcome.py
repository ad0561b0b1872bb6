"""What an SPF evaluation takes and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config.base.domains import normal_domain
from proxy.dns.answers import Value

_LONGEST_NAME = 253


class Records(Protocol):
    """Looks names up: `proxy.dns.resolver.Resolver`."""

    async def records(self, name: str, record_type: str) -> Sequence[Value]:
        """Return the data of the records. Raises NoSuchDomain or DnsUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose mail is checked, and from where."""

    client_ip: str
    sender: str
    """MAIL FROM; empty: the EHLO name is checked (RFC 7208 section 2.4)."""
    helo: str
    receiver: str

    @property
    def has_domain(self) -> bool:
        """Whether there is a name to look up. An address literal has none, nor has a bare local part."""
        return not self.domain.startswith("[") and ("@" in self.sender or not self.sender)

    @property
    def domain(self) -> str:
        """The domain whose record decides, without a final dot."""
        return (self.sender.rpartition("@")[2] if self.sender else self.helo).removesuffix(".")

    @property
    def may_have_record(self) -> bool:
        """Whether RFC 7208 section 4.3 has us look the record up: only if the domain has two or more valid labels."""
        name = normal_domain(self.domain)
        sizes = [len(each) for each in name.split(".")]
        return len(name) <= _LONGEST_NAME and len(sizes) > 1 and min(sizes) > 0 and max(sizes) < 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluation found."""

    result: str
    """pass, fail, softfail, neutral, none, permerror or temperror."""
    explanation: str = ""
    """The domain's own words on a fail (`exp=`)."""
    mechanism: str = ""
    problem: str = ""
    unknown_domain: bool = False
    """The domain in MAIL FROM does not exist. A name in EHLO that does not exist proves nothing about a bounce."""
