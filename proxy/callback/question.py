"""What is asked, in the form used on the wire and in the cache."""

from __future__ import annotations

from dataclasses import dataclass, field

from sieve.message.spelling import spoken_local_part


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
