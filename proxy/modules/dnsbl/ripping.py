"""What a stanza of url_ripper finds in a message, for the script function `ec_url_ripper`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from proxy.mail.session import Session
from proxy.modules.dnsbl.kinds import OfMessage
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.dnsbl.score import Hit

GIVEN_AS = "url_ripper"
"""The name under which the function finds it, and the type of its stanza."""


@dataclass(frozen=True, slots=True)
class Ripper:
    """Asks when a script does."""

    look: Callable[[str, Sequence[str], int], Awaitable[Sequence[Hit]]]
    """Asks the zones about a kind and its subjects; the number limits the questions."""
    kinds: Mapping[str, OfMessage]
    options: DnsblOptions

    async def __call__(self, session: Session) -> Mapping[str, Sequence[str]]:
        """Return what is listed, by context variable, and count it in the message's variables."""
        message = session.transaction.message
        if message is None:
            return {}
        hits: list[Hit] = []
        room = self.options.max_lookups
        for name, kind in self.kinds.items():
            subjects = (await kind.find(message, self.options.address_headers))[:room]
            room -= len(subjects)
            hits += await self.look(name, subjects, self.options.max_lookups)
        found: dict[str, list[str]] = {}
        for hit in hits:
            for key in hit.keys:
                names = found.setdefault(key, [])
                if hit.what not in names:
                    names.append(hit.what)
        session.transaction.context |= {key: str(len(names)) for key, names in found.items()}
        return found
