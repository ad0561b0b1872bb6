"""What is asked, in the form in which it is said and remembered."""

from __future__ import annotations

from dataclasses import dataclass, field

from sieve.message.spelling import spoken_local_part


@dataclass(frozen=True, slots=True)
class Question:
    """Whether an address exists, asked with a sender."""

    local_part: str
    """In the form in which it is compared: without needless quotes."""
    domain: str
    """As DNS knows it: in lower case and A-labels, or an address literal."""
    sender: str
    """Empty for the null sender."""
    said: str = field(default="", compare=False)
    """The local part with the quotes that it was given with, where it was."""

    @property
    def address(self) -> str:
        """The address as it is said to the exchanger."""
        return f"{self.said or spoken_local_part(self.local_part)}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether only SMTPUTF8 can carry it (RFC 6531)."""
        return not (self.local_part.isascii() and self.sender.isascii())
