"""The script functions of `dkim_validate`."""

from __future__ import annotations

from collections.abc import Sequence

from config.base.domains import normal_domain
from sieve.library import sieve_function
from sieve.message.addresses import AddressPart, mailboxes, part_of
from sieve.message.spelling import canonical_in_field
from sieve.phases import Need
from sieve.run.content import judged
from sieve.run.patience import Soon
from sieve.run.runtime import Frame

DOMAINS = "dkim_domains"
"""The context variable of the message with the domains, separated by spaces."""


@sieve_function(module="dkim_validate", needs=Need.HEADERS)
def ec_dkim_domains(frame: Frame) -> tuple[str, ...]:
    """Return the domains of all valid signatures: the identity's (`i=`) if there is one, or else the signer's (`d=`).

    The module `dkim_validate` must come before the script.
    """
    return tuple(frame.host.vctx_mess.get(DOMAINS, "").split())


@sieve_function(module="dkim_validate", needs=Need.HEADERS)
def ec_dkim_responsible_domain(frame: Frame) -> Soon[str]:
    """Return the domain of the address that is responsible for the message: the one in Sender, or else in From.

    It is empty if neither field has an address with a domain.
    """
    message = frame.host.message
    bodies = () if message is None else (*message.header("sender"), *message.header("from"))
    return judged(bodies, _first_domain)


def _first_domain(bodies: Sequence[str]) -> str:
    for body in bodies:
        for _, address in mailboxes(body):
            if domain := part_of(canonical_in_field(address), AddressPart.DOMAIN):
                return normal_domain(domain)
    return ""
