"""Who looks on while a question is answered: `ringback probe`, which shows people how a verdict came about.

What happens is noted as it happens, as events with fields, in the manner of the log:

| event | fields |
|---|---|
| `mapped` | `domain`, and the `host` that the operator named for it |
| `exchangers` | `domain`, and its `exchangers` as (preference, host); none where it is its own exchanger |
| `addresses` | `host`, and the `addresses` that it has |
| `passed_over` | `host`, `address` (empty for all), and `why`; also of a host that was asked, and did not decide |
| `connecting` | `host`, and the `addresses` tried |
| `connected` | `host`, `address`, `port` |
| `tls` | `version` that was agreed on |
"""

from __future__ import annotations

from typing import Any


class Observer:
    """Sees nothing; who wants to see overrides both methods. Neither may raise or wait."""

    def note(self, event: str, **fields: Any) -> None:
        """Something was done or found out."""

    def said(self, ours: bool, octets: bytes) -> None:  # noqa: FBT001 — as `wire.Listener` is called
        """Something was said on the wire, as it came: whether by us, and the octets."""


NOBODY = Observer()
