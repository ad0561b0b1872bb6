"""The series of what comes from clients: `inbound_audit` adds to them, scripts and the console read them."""

from __future__ import annotations

CONNECT, RECEPTION, REJECTION = "connect", "reception", "rejection"

_BEGIN = "inbound_audit "
"""No name that a script gives begins so: `of_script`."""


def series_of(kind: str, *, here: bool) -> str:
    """Return the name of the series of this machine, or of all that share a store."""
    return f"{_BEGIN}{kind}" if here else f"{_BEGIN}{kind} of all"


def of_script(name: str) -> str:
    """Return a name for a script's series: with valid characters only, and different from all of Ringback's own."""
    return "script " + name.encode("utf-8", "surrogateescape").decode("latin-1")


def as_given(name: str) -> str | None:
    """Return the name as the script gave it; None if no script chose it."""
    if not name.startswith("script "):
        return None
    return name.removeprefix("script ").encode("latin-1").decode("utf-8", "backslashreplace")
