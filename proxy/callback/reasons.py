"""Every reason that a verdict may have, the statuses that it goes with, and what it means, for people.

`ringback probe` prints the meaning, docs/callback-verification.md holds the table, and a test compares both with the
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.callback.verdict import Status

_PASS, _FAIL, _TRANSIENT, _ERROR = (Status.PASS,), (Status.FAIL,), (Status.TRANSIENT,), (Status.ERROR,)


@dataclass(frozen=True, slots=True)
class Reason:
    """What one word stands for."""

    statuses: tuple[Status, ...]
    """The usual one first; another where an option says so."""
    meaning: str


REASONS: Mapping[str, Reason] = {
    "accepted": Reason(_PASS, "the exchanger takes mail for the address"),
    "catchall": Reason(_PASS, "the domain takes any recipient, so that nothing is known of this one"),
    "exempt": Reason(_PASS, "not asked: the recipient is one whose mail is always taken (`exempt_recipients`)"),
    "authenticated": Reason(_PASS, "not asked: the client is authenticated"),
    "relay_client": Reason(_PASS, "not asked: the client may send anywhere"),
    "local_domain": Reason(_PASS, "not asked: the MTA behind serves the domain (`Relay_Domains`)"),
    "shadow": Reason(_PASS, "`enforce = false`: something else was found out, and only logged"),
    "no_such_user": Reason(_FAIL, "the exchanger says that there is no such address"),
    "disabled": Reason(_FAIL, "the exchanger says that the address takes no mail any more"),
    "nxdomain": Reason(_FAIL, "the domain does not exist"),
    "null_mx": Reason(_FAIL, "the domain says that it takes no mail (RFC 7505)"),
    "no_address": Reason(_FAIL, "none of the domain's exchangers has an address"),
    "unroutable": Reason((Status.FAIL, Status.ERROR), "its exchangers have no public address (`unroutable`)"),
    "no_smtputf8": Reason(_FAIL, "the address needs SMTPUTF8, which its exchanger does not offer"),
    "greylist": Reason(_TRANSIENT, "the exchanger greylists: it answers who comes again"),
    "mailbox_full": Reason(_TRANSIENT, "the mailbox is full, whatever the code: so the user exists"),
    "rate": Reason(_TRANSIENT, "the exchanger limits how often it is asked"),
    "deferred": Reason(_TRANSIENT, "any other 4xx, or a 5xx whose words say that it may pass"),
    "busy": Reason(_TRANSIENT, "the exchanger answers 421, or greets or answers EHLO with 4xx"),
    "connect": Reason(_TRANSIENT, "no exchanger could be reached"),
    "timeout": Reason(_TRANSIENT, "no answer in time, or a connection that was lost"),
    "tls": Reason(_TRANSIENT, "the TLS handshake failed, and so did the conversation in the clear"),
    "dns": Reason(_TRANSIENT, "DNS gave no clear answer: none at all, an error such as SERVFAIL, or a referral"),
    "pending": Reason(_TRANSIENT, "no answer yet; the probe goes on, and who comes again finds its verdict"),
    "busy_here": Reason(_TRANSIENT, "not asked: too many probes were under way before it (`max_probes`)"),
    "throttled": Reason(_TRANSIENT, "not asked: a budget of probes is used up for now"),
    "client_throttled": Reason(_TRANSIENT, "not asked: this client's network has had its share of a budget for now"),
    "breaker": Reason(_TRANSIENT, "not asked: the exchanger turned us away lately"),
    "storm": Reason(_TRANSIENT, "not asked: many clients forge the domain right now"),
    "upstream_down": Reason(_TRANSIENT, "not asked: no MTA behind takes mail now"),
    "refused_us": Reason(_ERROR, "the exchanger refuses to talk to us: a 5xx greeting, or 5xx to EHLO and HELO"),
    "mail_refused": Reason((Status.ERROR, Status.FAIL), "the exchanger refuses our sender (`null_refused`)"),
    "policy": Reason(_ERROR, "the exchanger refuses the recipient with 5xx, and not because it is unknown"),
    "blocked": Reason(_ERROR, "a rule of `reply_texts` says that the exchanger blocks us"),
    "tls_required": Reason(_ERROR, "the exchanger insists on TLS"),
    "protocol": Reason(_ERROR, "the exchanger does not speak SMTP as it should, or does not know a command"),
    "loop": Reason(_ERROR, "the domain's exchanger is this server, or bears its name"),
    "route": Reason(_ERROR, "a host that `map` names cannot be found"),
    "no_probe": Reason(_ERROR, "not asked: the operator spares domain or exchanger, or it turned us away three times"),
    "forged": Reason(_ERROR, "not asked: a context variable says that the sender is forged (`skip_variables`)"),
    "null_sender": Reason(_ERROR, "not asked: the address is empty; or the exchanger refuses bounces, not the address"),
    "syntax": Reason(_ERROR, "not asked: it is not a mail address"),
    "internal": Reason(_ERROR, "a fault in Ringback (see the log), or an address literal that is none"),
}
