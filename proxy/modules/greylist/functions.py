"""The script function of `greylist`."""

from __future__ import annotations

from collections.abc import Coroutine
from types import CoroutineType
from typing import Any

from proxy.modules.greylist.greylister import seconds_left
from sieve.library import Soon, sieve_function
from sieve.run.runtime import Frame


@sieve_function(module="greylist")
def greylist(frame: Frame, name: str) -> Soon[str]:
    """Count a delivery attempt for the current recipient in a `greylist` stanza; return how many seconds it must wait.

    Called after the message has arrived, it counts an attempt for every recipient. `0` means that the mail passes. The
    stanza may be passive.

        ($wait) = greylist "main";
        if not ec_test :is "${wait}" "0" { ec_action 451 "4.7.1 Greylisted, try again in ${wait} seconds"; }
    """
    wait = frame.host.greylisted(name)
    return _awaited(wait) if isinstance(wait, CoroutineType) else seconds_left(wait)  # type: ignore[arg-type]  # both stay


async def _awaited(wait: Coroutine[Any, Any, float]) -> str:
    return seconds_left(await wait)
