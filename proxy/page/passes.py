"""Who may see the page: one-time links, and the signed cookies that a login gives. It knows nothing of HTTP."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from proxy.mail.client import client_network_of
from proxy.page.routes import Role

PASS_SECONDS = 12 * 3600
LINK_SECONDS = 600

MOST_LINKS = 32
"""Links that were not used yet; a further one replaces the oldest."""

MOST_GUESSERS = 1024
FREE_GUESSES = 5
"""Wrong passwords of a client until it has to wait."""
GUESS_SECONDS = 60.0
"""How long it then waits."""

Clock = Callable[[], float]


class Passes:
    """Signs and reads cookies. Nothing about them is kept, so logins cost no memory."""

    def __init__(self, key: bytes, clock: Clock = time.time) -> None:
        self._key, self._clock = key, clock

    def issue(self, role: Role) -> str:
        """Return a cookie's value."""
        text = f"{role.value}.{int(self._clock()) + PASS_SECONDS}.{secrets.token_urlsafe(9)}"
        return f"{text}.{self._sign(text)}"

    def role_of(self, value: str) -> Role | None:
        """Return what a cookie allows; None if it is not ours, or is over."""
        text, _, signature = value.rpartition(".")
        if not value.isascii() or not hmac.compare_digest(signature, self._sign(text)):
            return None
        role, expires, _ = text.split(".")
        return Role(int(role)) if int(expires) > self._clock() else None

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()


class Links:
    """One-time links, for people who may use the control process's Unix socket."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, tuple[Role, float]] = OrderedDict()

    def make(self, role: Role) -> str:
        """Return the secret of a new link."""
        while len(self._waiting) >= MOST_LINKS:
            self._waiting.popitem(last=False)
        secret = secrets.token_urlsafe(24)
        self._waiting[secret] = (role, self._clock() + LINK_SECONDS)
        return secret

    def use(self, secret: str) -> Role | None:
        """Return what a link allows, once; None if it was used, is over, or never was."""
        role, ends = self._waiting.pop(secret, (None, 0.0))
        return role if ends > self._clock() else None


@dataclass(slots=True)
class _Guesser:
    wrong: int = 0
    waits_until: float = 0.0


class Guesses:
    """Counts wrong passwords by client; an IPv6 /64 is one client. The oldest guesses are forgotten first."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, _Guesser] = OrderedDict()

    def may(self, client: str) -> bool:
        """Return whether a client may try a password now."""
        known = self._known.get(_network(client))
        return known is None or known.waits_until <= self._clock()

    def wrong(self, client: str) -> None:
        """Note a wrong password."""
        client = _network(client)
        known = self._known.setdefault(client, _Guesser())
        self._known.move_to_end(client)
        known.wrong += 1
        if known.wrong >= FREE_GUESSES:
            known.waits_until = self._clock() + GUESS_SECONDS
        while len(self._known) > MOST_GUESSERS:
            self._known.popitem(last=False)

    def right(self, client: str) -> None:
        """Forget a client that knew a password."""
        self._known.pop(_network(client), None)


def _network(client: str) -> str:
    try:
        return client_network_of(client)
    except ValueError:
        return client
