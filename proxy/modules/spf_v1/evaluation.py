"""One SPF evaluation by pyspf, over Ringback's resolver, without blocking the event loop.

pyspf is synchronous. It runs in a greenlet: when it looks a name up, the greenlet hands the question to the coroutine
that started it, which awaits the resolver and hands the records back. The same way it pauses after a bounded amount of
work, because a stranger writes the records.

pyspf has the limits of RFC 7208 section 4.6.4: 10 terms that look something up, 2 look-ups without records.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from proxy.dns.answers import Value
from proxy.dns.resolver import AliasesLeadNowhere, DnsUnavailable, NoSuchDomain
from proxy.modules.spf_v1.outcome import Identity, Outcome, Records

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its documentation has backslashes that Python warns of
    import spf

LONGEST_TERM = 512
"""Characters of one term of a record: pyspf's expressions take quadratic time. A domain name has at most 253."""

LONGEST_EXPLANATION = 500
"""Characters of a domain's explanation that a client gets."""

_TERMS_AT_ONCE = 32
"""Terms, or addresses, after which others get their turn: each takes about 20 µs."""


@dataclass(frozen=True, slots=True)
class _Question:
    name: str
    record_type: str


_PAUSE = _Question("", "")


class _Evaluation(greenlet):  # type: ignore[misc] # greenlet has no types
    """A run of pyspf. Once it is over, further look-ups fail immediately."""

    over = False
    work = 0

    def rest(self, work: int) -> None:
        """Let others run after a bounded amount of work."""
        self.work += work
        if self.work >= _TERMS_AT_ONCE and not self.over:
            self.work = 0
            self.parent.switch(_PAUSE)


def _look_up(name: str, record_type: str, _strict: bool = True, _timeout: float = 0) -> list[Any]:  # noqa: FBT001, FBT002 - pyspf's call
    """Return records in pyspf's form, with the wait outside of it."""
    current = getcurrent()
    if not isinstance(current, _Evaluation) or current.over:
        raise spf.TempError("DNS look-up outside of an evaluation")
    answer = current.parent.switch(_Question(name, record_type))
    if isinstance(answer, DnsUnavailable):
        raise spf.TempError(f"DNS {answer}")
    return [((name, record_type), (each,) if isinstance(each, bytes) else each) for each in answer]


spf.DNSLookup = _look_up


class _Query(spf.query):  # type: ignore[misc] # pyspf has no types
    """pyspf's query, with bounds on what a stranger's record may cost."""

    def validate_mechanism(self, mech: str) -> Any:
        """Check one term."""
        _bounded(mech)
        return super().validate_mechanism(mech)

    def expand(self, s: str, stripdot: bool = True) -> str:  # noqa: FBT001, FBT002 - pyspf's own
        """Expand the macros of a term or of an explanation."""
        _bounded(s)
        expanded: str = super().expand(s, stripdot)
        return expanded

    def cidrmatch(self, ipaddrs: list[str], n: int) -> bool:
        """Compare the client with addresses."""
        for at in range(0, len(ipaddrs), _TERMS_AT_ONCE):
            some = ipaddrs[at : at + _TERMS_AT_ONCE]
            _rest(len(some))
            if super().cidrmatch(some, n):
                return True
        return False


def _bounded(term: str) -> None:
    if len(term) > LONGEST_TERM:
        raise spf.PermError("a term is too long", term[:40])
    _rest(1)


def _rest(work: int) -> None:
    current = getcurrent()
    if isinstance(current, _Evaluation):
        current.rest(work)


def _evaluated(identity: Identity, record: str | None) -> Outcome:
    """Run pyspf. With a record, nothing is looked up for the domain itself."""
    try:
        address = identity.client_ip.partition("%")[0]  # of a link-local client, without the name of the link
        helo = identity.helo if identity.sender else identity.domain
        query = _Query(address, identity.sender, helo, receiver=identity.receiver, strict=True)
        if identity.sender:  # pyspf cuts at the first "@", which may be in a quoted local part
            query.l = identity.sender.rpartition("@")[0] or "postmaster"
            query.d = query.o = identity.domain
        query.set_default_explanation("")
        result, _, explanation = query.check(record)
    except GreenletExit:
        raise
    except Exception as error:  # noqa: BLE001 - a fault of pyspf is met by a stranger's record
        return Outcome("permerror", problem=f"{type(error).__name__}: {error}"[:LONGEST_EXPLANATION])
    said = str(explanation)[:LONGEST_EXPLANATION] if result == "fail" else ""
    return Outcome(result, said, str(query.mechanism or ""), str(getattr(query, "prob", "")))


async def evaluate(resolver: Records, identity: Identity, *, default_rule: str = "", seconds: float = 20.0) -> Outcome:
    """Return what the domain of an identity says about the client, in this time.

    `default_rule` is for domains without a record.
    """
    if not identity.has_domain:
        return Outcome("none", problem="the sender has no domain")
    try:
        async with asyncio.timeout(seconds):
            return await _in_time(resolver, identity, default_rule)
    except TimeoutError:
        return Outcome("temperror", problem="no answer in time")
    except DnsUnavailable as unavailable:
        return Outcome("temperror", problem=str(unavailable))


async def _in_time(resolver: Records, identity: Identity, default_rule: str) -> Outcome:
    answers = _Answers(resolver, identity.domain)
    outcome = Outcome("none", problem="a sender's domain cannot have this name")
    if identity.may_have_record:
        outcome = await _run(answers, identity, None)
        if outcome.result != "none":
            return outcome
    if (answers.has_no_such_domain or not identity.may_have_record) and await _is_unknown(resolver, identity.domain):
        return Outcome("none", problem="the domain does not exist", unknown_domain=bool(identity.sender))
    if default_rule and identity.may_have_record:
        return await _run(answers, identity, f"v=spf1 {default_rule}")
    return outcome


class _Answers:
    """The resolver, as one evaluation asks it."""

    def __init__(self, resolver: Records, domain: str) -> None:
        self._resolver, self._domain = resolver, domain.lower().rstrip(".")
        self.has_no_such_domain = False
        """Whether the record of the domain itself was asked for, and the name does not exist."""

    async def to(self, question: _Question) -> Sequence[Value] | DnsUnavailable:
        if question is _PAUSE:
            await asyncio.sleep(0)
            return ()
        try:
            return await self._resolver.records(question.name, question.record_type)
        except NoSuchDomain:
            self.has_no_such_domain |= question.name.lower().rstrip(".") == self._domain
            return ()
        except AliasesLeadNowhere:
            return ()
        except DnsUnavailable as unavailable:
            return unavailable


async def _run(answers: _Answers, identity: Identity, record: str | None) -> Outcome:
    """Run an evaluation to its end. If it is cancelled, it is unwound before this returns."""
    run = _Evaluation(_evaluated)
    try:
        said = run.switch(identity, record)
        while not run.dead:
            said = run.switch(await answers.to(said))
    finally:
        run.over = True
        if not run.dead:
            run.throw()
    return said  # type: ignore[no-any-return] # the value of `_evaluated`


async def _is_unknown(resolver: Records, domain: str) -> bool:
    """Whether a name does not exist: some name servers say so for every type that they do not know."""
    for record_type in ("A", "MX"):
        try:
            await resolver.records(domain, record_type)
        except NoSuchDomain:
            continue
        return False
    return True
