"""The script function of url_ripper."""

from __future__ import annotations

from sieve.library import Hash, sieve_function
from sieve.phases import Need
from sieve.run.runtime import Frame


@sieve_function(module="url_ripper", needs=Need.BODY | Need.HEADERS)
async def ec_url_ripper(frame: Frame) -> Hash:
    """Look up the message's links and addresses in the zone of `url_ripper`, and return what is listed.

    The keys of the hash are the context variables that the stanza names in `bits` and `values`; the value
    of each is the list of names and addresses with that listing. The hash is empty if nothing is listed. The same
    variables of the message are set to the number of listings. Load the module as passive; otherwise, it also looks up
    each message by itself.
    """
    return {key: tuple(names) for key, names in (await frame.host.listed_links()).items()}
