"""Certificates of a test's own: PEM files of one that is valid, one that runs out, and an authority."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import trustme


def make_certificate(
    folder: Path, name: str, *, valid: tuple[datetime, datetime] | None = None, authority: bool = False
) -> None:
    """Write NAME.pem and NAME.key; with `authority` NAME.pem is the authority itself."""
    made = trustme.CA()
    if authority:
        made.cert_pem.write_to_path(folder / f"{name}.pem")
        return
    begins, ends = valid or (None, None)
    issued = made.issue_cert("mx.test", not_before=begins, not_after=ends)
    issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    issued.private_key_pem.write_to_path(folder / f"{name}.key")
