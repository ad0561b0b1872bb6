"""Context variables: some last as long as the connection, some as long as the message."""

from __future__ import annotations

from collections.abc import Mapping

from sieve.library import sieve_function
from sieve.run.runtime import Frame


def _values(keys: tuple[str, ...], *contexts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of those `keys` that are set. `:contains ""` therefore tests whether a key is set."""
    return tuple([context[key] for context in contexts for key in keys if key in context])


@sieve_function(first=True)
def vctx(frame: Frame, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Compare context variables of the message and the connection: `vctx :is "spf_status" "pass"`.

    `:contains ""` tests whether a variable is set.
    """
    return _values(keys, frame.host.vctx_mess, frame.host.vctx_conn)


@sieve_function(first=True)
def vctx_conn(frame: Frame, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Compare context variables of the connection."""
    return _values(keys, frame.host.vctx_conn)


@sieve_function(first=True)
def vctx_mess(frame: Frame, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Compare context variables of the message."""
    return _values(keys, frame.host.vctx_mess)


@sieve_function()
def vctx_conn_get(frame: Frame, key: str) -> str:
    """Return a context variable of the connection; empty if it is not set."""
    return frame.host.vctx_conn.get(key, "")


@sieve_function()
def vctx_conn_set(frame: Frame, key: str, value: str) -> None:
    """Set a context variable of the connection."""
    frame.host.vctx_conn[key] = value


@sieve_function()
def vctx_conn_delete(frame: Frame, key: str) -> None:
    """Remove a context variable of the connection."""
    frame.host.vctx_conn.pop(key, None)


@sieve_function()
def vctx_mess_get(frame: Frame, key: str) -> str:
    """Return a context variable of the message; empty if it is not set."""
    return frame.host.vctx_mess.get(key, "")


@sieve_function()
def vctx_mess_set(frame: Frame, key: str, value: str) -> None:
    """Set a context variable of the message."""
    frame.host.vctx_mess[key] = value


@sieve_function()
def vctx_mess_delete(frame: Frame, key: str) -> None:
    """Remove a context variable of the message."""
    frame.host.vctx_mess.pop(key, None)
