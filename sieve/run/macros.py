"""The macros of Sieve++ by namespace: what `%{namespace:key}` in a string means.

The namespace `default`, for a macro written without one, has the letters of SPF, else a context variable of the message
or the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sieve.phases import Need
from sieve.run.message_macros import date, rfc2822_reader
from sieve.run.spf import spf_macro
from sieve.syntax.macros import Macro


def macro_of(namespace: str, key: str) -> Macro | None:
    """Return the macro of a namespace, in lower case; None if it has none for this key."""
    resolve = _NAMESPACES.get(namespace)
    return None if resolve is None else resolve(key)


def _conn(key: str) -> Macro:
    return Macro(lambda frame: frame.host.vctx_conn.get(key, ""))


def _mess(key: str) -> Macro:
    return Macro(lambda frame: frame.host.vctx_mess.get(key, ""))


def _spf(key: str) -> Macro | None:
    letter = spf_macro(key)
    if letter is None:
        return None
    return Macro(letter.wait, waits=True) if letter.waits else Macro(letter.run)


def _rfc822(key: str) -> Macro | None:
    return Macro(date) if key.strip().lower() == "date" else None


def _rfc2822(key: str) -> Macro | None:
    read = rfc2822_reader(key)
    return None if read is None else Macro(read, waits=True, needs=Need.BODY)


def _default(key: str) -> Macro:
    """Return SPF's letter, which all examples write short, else a variable of the message or the connection."""
    letter = _spf(key)
    if letter is not None:
        return letter

    def run(frame: Any) -> Any:
        host = frame.host
        value = host.vctx_mess.get(key)
        return host.vctx_conn.get(key, "") if value is None else value

    return Macro(run)


_NAMESPACES: dict[str, Callable[[str], Macro | None]] = {
    "vctx_conn": _conn,
    "vctx_mess": _mess,
    "spfv1": _spf,
    "rfc822": _rfc822,
    "rfc2822": _rfc2822,
    "default": _default,
}
"""What resolves the keys of a namespace, once, when a script is compiled; None for a key that it does not have."""
