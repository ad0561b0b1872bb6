"""What a stanza of url_ripper finds in a message, for the script function `ec_url_ripper`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.mail.session import Session
from proxy.modules.dnsbl.lists import Hit, Lists
from proxy.modules.dnsbl.options import DnsblOptions
from proxy.modules.dnsbl.subjects import subjects_of

GIVEN_AS = "url_ripper"
"""The name under which the function finds it, and the type of its stanza."""


@dataclass(frozen=True, slots=True)
class Ripper:
    """Asks when a script does."""

    lists: Lists
    options: DnsblOptions

    async def __call__(self, session: Session) -> Mapping[str, Sequence[str]]:
        """Return what is listed, by context variable, and count it in the message's variables."""
        message = session.transaction.message
        if message is None:
            return {}
        hits: list[Hit] = []
        room = self.options.max_lookups
        for kind in ("header", "url"):
            subjects = (await subjects_of(message, kind, self.options.address_headers))[:room]
            room -= len(subjects)
            hits += await self.lists.look(kind, subjects, self.options.max_lookups)
        found: dict[str, list[str]] = {}
        for hit in hits:
            for key in hit.keys:
                names = found.setdefault(key, [])
                if hit.what not in names:
                    names.append(hit.what)
        session.transaction.context |= {key: str(len(names)) for key, names in found.items()}
        return found
