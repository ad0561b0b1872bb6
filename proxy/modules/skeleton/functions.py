"""The script functions of `skeleton`."""

from __future__ import annotations

from sieve.library import sieve_function
from sieve.run.runtime import Frame


@sieve_function(module="skeleton")
def skeleton_name(frame: Frame) -> str:
    """Return the name in EHLO that `names` lists; empty if the client's name is not listed."""
    return frame.host.vctx_conn.get("skeleton_name", "")
