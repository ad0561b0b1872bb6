"""Hooks for watching how a question is answered: `ringback probe` shows people how a verdict came about.

Each step is reported when it happens, as an event with fields, like in the log:

| event | fields |
|---|---|
| `mapped` | `domain`, and the `host` that the operator named for it |
| `exchangers` | `domain`, and its `exchangers` as (preference, host); empty if the domain is its own exchanger |
| `addresses` | `host`, and the `addresses` that it has |
| `passed_over` | `host`, `address` (empty for all), and `why`; also for a host that was asked but did not decide |
| `connecting` | `host`, and the `addresses` tried |
| `connected` | `host`, `address`, `port` |
| `tls` | the negotiated `version` |
"""

from __future__ import annotations

from typing import Any


class Observer:
    """Does nothing; subclasses override both methods. Neither may raise or wait."""

    def note(self, event: str, **fields: Any) -> None:
        """Report a step or a finding."""

    def said(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 — as `wire.Listener` is called
        """Report bytes as they were on the wire, and whether we sent them."""


NOBODY = Observer()
