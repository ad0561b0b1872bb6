"""SPF macros (RFC 7208, 7) in scripts: `%{spfv1:ir}`, `%{i}`."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass

from sieve.run.runtime import Frame

_KEY = re.compile(r"([slodipvhcrt])([0-9]{0,3})(r?)([.\-+,/_=]*)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SpfMacro:
    """One macro letter with its transformers."""

    letter: str
    digits: int
    """The number of rightmost pieces to keep; 0 for all."""
    reversed: bool
    delimiters: str
    escaped: bool

    @property
    def waits(self) -> bool:
        """Whether its value needs a DNS look-up."""
        return self.letter == "p"

    def run(self, frame: Frame) -> str:
        """Return the macro's text in this session."""
        return self._transformed(_LETTERS[self.letter](frame))

    async def wait(self, frame: Frame) -> str:
        """Return the macro's text in this session, after looking up the client's validated name."""
        return self._transformed(await frame.host.connection.client_name())

    def _transformed(self, text: str) -> str:
        """Split, reverse, keep the rightmost pieces, join with dots; URL-escape if the letter is upper case."""
        if self.digits or self.reversed or self.delimiters:
            pieces = re.split(f"[{re.escape(self.delimiters or '.')}]", text)
            if self.reversed:
                pieces.reverse()
            text = ".".join(pieces[-self.digits :] if self.digits else pieces)
        return urllib.parse.quote(text, safe="") if self.escaped else text


def spf_macro(key: str) -> SpfMacro | None:
    """Return the macro for a key such as `d2r`; None if the key is not an SPF macro."""
    found = _KEY.match(key)
    if found is None or (found[2] and not int(found[2])):
        return None
    letter = found[1].lower()
    return SpfMacro(letter, int(found[2] or 0), bool(found[3]), found[4], found[1].isupper())


def _sender(frame: Frame) -> str:
    """Return the sender; for the null sender, the postmaster at the EHLO name (RFC 7208, 2.4)."""
    return frame.host.sender or f"postmaster@{frame.host.connection.ehlo}"


def _localpart(frame: Frame) -> str:
    sender = _sender(frame)
    return sender.rpartition("@")[0] if "@" in sender else sender


def _domain(frame: Frame) -> str:
    return _sender(frame).rpartition("@")[2]


def _dotted(frame: Frame) -> str:
    """Return the client's address; IPv6 as dotted nibbles (RFC 7208, 7.3)."""
    text = frame.host.connection.client.address
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return text if address.version == 4 else ".".join(address.exploded.replace(":", ""))


def _family(frame: Frame) -> str:
    return "ip6" if ":" in frame.host.connection.client.address else "in-addr"


_LETTERS: dict[str, Callable[[Frame], str]] = {
    "s": _sender,
    "l": _localpart,
    "o": _domain,
    "d": _domain,
    "i": _dotted,
    "p": lambda frame: "unknown",  # noqa: ARG005 - it waits, see `wait`
    "v": _family,
    "h": lambda frame: frame.host.connection.ehlo,
    "c": lambda frame: frame.host.connection.client.address,
    "r": lambda frame: frame.host.connection.hostname,
    "t": lambda frame: str(int(frame.host.now())),
}
