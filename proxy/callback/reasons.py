"""Every reason a verdict can have, with its statuses and an explanation for people.

`ringback probe` prints the meaning, and docs/callback-verification.md has the same table. A test compares both with the
code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.callback.verdict import Status

_PASS, _FAIL, _TRANSIENT, _ERROR = (Status.PASS,), (Status.FAIL,), (Status.TRANSIENT,), (Status.ERROR,)


@dataclass(frozen=True, slots=True)
class Reason:
    """The meaning of one reason word."""

    statuses: tuple[Status, ...]
    """The usual status first; others if an option sets them."""
    meaning: str


REASONS: Mapping[str, Reason] = {
    "accepted": Reason(_PASS, "the exchanger accepts mail for the address"),
    "catchall": Reason(_PASS, "the domain accepts every recipient, so this address may or may not exist"),
    "exempt": Reason(_PASS, "not asked: mail for this recipient is always accepted (`exempt_recipients`)"),
    "authenticated": Reason(_PASS, "not asked: the client is authenticated"),
    "relay_client": Reason(_PASS, "not asked: the client may relay to any domain"),
    "local_domain": Reason(_PASS, "not asked: the next hop serves the domain (`Relay_Domains`)"),
    "shadow": Reason(_PASS, "`enforce = false`: the real verdict was only logged"),
    "no_such_user": Reason(_FAIL, "the exchanger says that the address does not exist"),
    "disabled": Reason(_FAIL, "the exchanger says that the address no longer accepts mail"),
    "nxdomain": Reason(_FAIL, "the domain does not exist"),
    "null_mx": Reason(_FAIL, "the domain publishes a null MX: it accepts no mail (RFC 7505)"),
    "no_address": Reason(_FAIL, "none of the domain's exchangers has an address"),
    "unroutable": Reason((Status.FAIL, Status.ERROR), "the domain's exchangers have no public address (`unroutable`)"),
    "no_smtputf8": Reason(_FAIL, "the address needs SMTPUTF8, which its exchanger does not offer"),
    "greylist": Reason(_TRANSIENT, "the exchanger greylists, and may accept a later attempt"),
    "mailbox_full": Reason(_TRANSIENT, "the user exists, but the mailbox is full, whatever the reply code"),
    "rate": Reason(_TRANSIENT, "the exchanger limits how often it can be asked"),
    "deferred": Reason(_TRANSIENT, "any other 4xx, or a 5xx whose text calls it temporary"),
    "busy": Reason(_TRANSIENT, "the exchanger replies 421 at any point, or 4xx as its greeting or to EHLO"),
    "connect": Reason(_TRANSIENT, "no exchanger could be reached"),
    "timeout": Reason(_TRANSIENT, "no reply in time, or the connection was lost"),
    "tls": Reason(_TRANSIENT, "the TLS handshake failed, and so did the attempt without TLS"),
    "dns": Reason(_TRANSIENT, "no clear DNS answer: no reply, an error such as SERVFAIL, or a referral"),
    "pending": Reason(_TRANSIENT, "no answer yet; the probe continues, and a later attempt gets its verdict"),
    "busy_here": Reason(_TRANSIENT, "not asked: too many other probes were running (`max_probes`)"),
    "throttled": Reason(_TRANSIENT, "not asked: a probe budget is used up for now"),
    "client_throttled": Reason(_TRANSIENT, "not asked: this client's network has used up its share of a budget"),
    "breaker": Reason(_TRANSIENT, "not asked: the exchanger rejected us recently"),
    "storm": Reason(_TRANSIENT, "not asked: many clients are forging this domain right now"),
    "keeper": Reason(_TRANSIENT, "not asked: the process that asks for all workers did not answer in time"),
    "upstream_down": Reason(_TRANSIENT, "not asked: no next hop accepts mail now"),
    "refused_us": Reason(_ERROR, "the exchanger rejects our session: 5xx as its greeting, or to both EHLO and HELO"),
    "mail_refused": Reason((Status.ERROR, Status.FAIL), "the exchanger rejects our sender (`null_refused`)"),
    "policy": Reason(_ERROR, "the exchanger rejects the recipient with 5xx, but not because the user is unknown"),
    "blocked": Reason(_ERROR, "a rule of `reply_texts` says that the exchanger blocks us"),
    "tls_required": Reason(_ERROR, "the exchanger requires TLS"),
    "protocol": Reason(_ERROR, "the exchanger violates SMTP, or does not know a command"),
    "loop": Reason(_ERROR, "the domain's exchanger is this server, or has its name"),
    "route": Reason(_ERROR, "a host that `map` names cannot be found"),
    "no_probe": Reason(_ERROR, "not asked: the operator exempted the domain or exchanger, or it rejected us 3 times"),
    "dmarc_policy": Reason(
        (Status.ERROR, Status.FAIL),
        "not asked: SPF did not pass, and the sender's domain has the DMARC policy `reject` (`dmarc_reject_unprobed`)",
    ),
    "forged": Reason(_ERROR, "not asked: a context variable says that the sender is forged (`skip_variables`)"),
    "null_sender": Reason(_ERROR, "not asked because the address is empty, or the exchanger rejects all bounces"),
    "syntax": Reason(_ERROR, "not asked: it is not a mail address"),
    "internal": Reason(_ERROR, "a fault in Ringback (see the log), or an invalid address literal"),
}
