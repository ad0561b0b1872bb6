"""The context dictionaries: one lives as long as the connection, the other as long as the message."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.runtime import Frame


@sieve_function()
def vctx(frame: Frame, key: str) -> tuple[str, ...]:
    """Compare a context variable of the message or the connection: `vctx :is "spf" "pass"`."""
    found = [each[key] for each in (frame.host.vctx_mess, frame.host.vctx_conn) if key in each]
    return tuple(found) or ("",)


@sieve_function()
def vctx_conn(frame: Frame, key: str) -> str:
    """Compare a context variable of the connection."""
    return frame.host.vctx_conn.get(key, "")


@sieve_function()
def vctx_mess(frame: Frame, key: str) -> str:
    """Compare a context variable of the message."""
    return frame.host.vctx_mess.get(key, "")


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
