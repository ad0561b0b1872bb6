"""The script function of `greylist`."""

from __future__ import annotations

from proxy.modules.greylist.greylister import seconds_left
from sieve.library import sieve_function
from sieve.run.runtime import Frame


@sieve_function(module="greylist")
async def greylist(frame: Frame, name: str) -> str:
    """Count an attempt of the current recipient's mail in a `greylist` stanza; return the seconds that it must wait.

    At the end of the message, it is an attempt for all recipients. `0`: it passes. The stanza may be passive. Example:

        ($wait) = greylist "main";
        if not ec_test :is "${wait}" "0" { ec_action 451 "4.7.1 Greylisted, try again in ${wait} seconds"; }
    """
    return seconds_left(await frame.host.greylisted(name))
