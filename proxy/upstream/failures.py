"""Exceptions for failures on the way to an upstream. None is about the mail."""

from __future__ import annotations


class Unreachable(Exception):
    """No address of the upstream takes a connection."""


XFORWARD_IS_MISSING = "XFORWARD is required but not offered"


class RefusedUs(Exception):
    """The upstream refuses to talk to us: its greeting, EHLO, TLS, XCLIENT or XFORWARD."""


class PoolFull(Exception):
    """No place came free in time."""


class Lost(Exception):
    """The connection broke or fell silent; what was under way on it has no answer.

    `used` tells whether another transaction had the connection before.
    """

    def __init__(self, *, used: bool) -> None:
        """Keep how the connection was."""
        super().__init__()
        self.used = used
