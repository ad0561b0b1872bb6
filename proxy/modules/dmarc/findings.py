"""What other modules found about a message: authenticated domains, and further evidence against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from config.base.domains import normal_domain
from config.base.ip import any_holds
from proxy.dmarc.evaluation import Identifiers
from proxy.mail.evidence import Result
from proxy.mail.session import Session
from proxy.modules.dmarc.options import Finding, Forwarders

_PASS, _FAIL, _TEMPERROR = "pass", "fail", "temperror"


def identifiers_of(session: Session) -> Identifiers:
    """Return the domains that SPF and DKIM authenticated. With the null sender, SPF authenticates the EHLO name."""
    return Identifiers(
        spf=next(iter(_spf_domains(session, _PASS)), ""),
        dkim=_signers(session, _PASS),
        unclear_spf=next(iter(_spf_domains(session, _TEMPERROR)), ""),
        unclear_dkim=_signers(session, _TEMPERROR),
    )


def _spf_domains(session: Session, value: str) -> list[str]:
    return [spf_domain(each) for each in session.transaction.evidence.get("spf", ()) if each.value == value]


def _signers(session: Session, value: str) -> tuple[str, ...]:
    found = [each for each in session.transaction.evidence.get("dkim", ()) if each.value == value]
    return tuple([normal_domain(each.about("header", "d")) for each in found])


def spf_domain(result: Result) -> str:
    """Return the domain that an SPF result is about."""
    mailbox = result.about("smtp", "mailfrom")
    return normal_domain(mailbox.rpartition("@")[2] or result.about("smtp", "helo"))


def _has(session: Session, method: str, value: str) -> bool:
    results = (*session.transaction.evidence.get(method, ()), *session.evidence.get(method, ()))
    return any(each.value == value for each in results)


_FINDINGS: Mapping[Finding, Callable[[Session], bool]] = {
    "spf_fail": lambda session: _has(session, "spf", _FAIL),
    "spf_softfail": lambda session: _has(session, "spf", "softfail"),
    "dkim_fail": lambda session: _has(session, "dkim", _FAIL) and not _has(session, "dkim", _PASS),
    "arc_fail": lambda session: _has(session, "arc", _FAIL),
    "iprev_fail": lambda session: _has(session, "iprev", _FAIL),
    "iprev_permerror": lambda session: _has(session, "iprev", "permerror"),
    "dnsbl": lambda session: session.transaction.context.get("dnsbl_status") == "listed",
    "early_talker": lambda session: "early_talker" in session.context,
    "callback_fail": lambda session: session.transaction.context.get("smtp_cbv_status") == _FAIL,
}

READS = frozenset({"spf", "dkim", "arc", "iprev", "dnsbl_status", "early_talker", "smtp_cbv_result", "arc_trusted"})
"""What is read of other modules' work."""

NEEDS: Mapping[Finding, frozenset[str]] = {
    "spf_fail": frozenset({"spf_v1"}),
    "spf_softfail": frozenset({"spf_v1"}),
    "dkim_fail": frozenset({"dkim_validate", "opendkim"}),
    "arc_fail": frozenset({"arc", "openarc"}),
    "iprev_fail": frozenset({"iprev"}),
    "iprev_permerror": frozenset({"iprev"}),
    "dnsbl": frozenset({"dnsbl", "dns_rbl"}),
    "early_talker": frozenset({"conntrol"}),
    "callback_fail": frozenset({"smtp_cbv"}),
}
"""The modules of which one must be loaded, or the finding never comes."""


def agreeing(session: Session, wanted: tuple[Finding, ...]) -> Finding | None:
    """Return the first of the findings that speaks against the message."""
    return next((each for each in wanted if _FINDINGS[each](session)), None)


def is_forwarder(session: Session, forwarders: Forwarders) -> bool:
    """Whether the client is a forwarder that the operator trusts. A domain counts only if something confirms it."""
    if any_holds(forwarders.networks, session.client_ip):
        return True
    if not forwarders.domains:
        return False
    confirmed = _spf_domains(session, _PASS)
    confirmed += [each.comment for each in session.evidence.get("iprev", ()) if each.value == _PASS]
    return any(forwarders.domains.matches(each) for each in confirmed if each)
