"""`explain`: which replies a client would get, from the running configuration and the caches.

It walks the commands of a session that does not exist: the same plan, limits, parsers and modules decide. It asks no
DNS, no exchanger, no database and no next hop; it takes no token, counts nothing, and logs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.base.ip import plain_address
from proxy.base.log import printable
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.counting.base import Counting
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.mail.session import Recipient, Session, Transaction
from proxy.mail.verdict import Verdict
from proxy.modules.base import Explains
from proxy.options.core import CoreOptions
from proxy.options.inbound import InboundOptions
from proxy.options.throttle import Throttle
from proxy.server.answering import Question, Unanswerable
from proxy.smtp.access import admits, is_trusted
from proxy.smtp.admission import Admission
from proxy.smtp.commands.mail import mail_context, sender_of
from proxy.smtp.commands.rcpt import recipient_context, recipient_of
from proxy.smtp.dialogue import helo_context
from proxy.smtp.entrance import Entrance
from proxy.smtp.listed import foreseen
from proxy.smtp.pipeline import PhasePipeline
from proxy.smtp.plan import Limit, Plan
from proxy.smtp.ports import Front
from proxy.smtp.shared import HERE, Rate, SharedLimits, SharedRate
from proxy.smtp.state import Progress
from proxy.upstream.pools import Pools
from proxy.upstream.routes import Router
from sieve.phases import Phase

_PORT = 40025
RATES = tuple([name for name in InboundOptions.model_fields if name.endswith("_rate_per_client")])
"""What is before the ending is what the rate counts, in `proxy.smtp.shared.Rate`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A worker, as far as a session sees it."""

    front: Front
    entrances: Mapping[str, Entrance]
    router: Router
    pools: Pools


def questions(place: Callable[[], Place]) -> dict[str, Question]:
    """Return the question."""

    async def explain(given: Mapping[str, Any]) -> dict[str, Any]:
        return await _Walk(place(), given).run()

    return {"explain": explain}


class _Seen(Exception):
    """The session would end here, or the command be refused."""


class _Peeked:
    """The rates of clients, looked at without a token taken."""

    def __init__(self, front: Front) -> None:
        self._rates = front.rates

    def take(self, key: str, throttle: Throttle, wanted: int = 1) -> bool:
        return not throttle.count or self._rates.peek(key, throttle) >= wanted


@dataclass(slots=True)
class _Limited:
    """What a plan's limits look at."""

    front: Any
    entrance: Entrance
    session: Session
    progress: Progress = field(default_factory=Progress)


@dataclass(slots=True)
class _Peeking:
    rates: _Peeked
    shared: SharedLimits | None
    counting: Counting
    settings: CoreOptions
    lists: None = None
    """A client that a list refuses was turned away at the greeting."""


class _Walk:
    """One question."""

    def __init__(self, place: Place, given: Mapping[str, Any]) -> None:
        self._place, self._given = place, given
        self._front = place.front
        self._rows: list[dict[str, Any]] = []
        self._unknown: list[str] = []
        self._reply: Reply | None = None
        self._verdicts = {name: _verdict(row) for name, row in dict(given.get("verdicts") or {}).items()}
        self._listener, self._entrance = self._chosen(str(given.get("listener") or ""))
        self._session = self._made(str(given["client"]))
        self._plan: Plan = self._entrance.plan(self._session.options, self._front.pipeline)
        self._limited = _Limited(self._peeking(), self._entrance, self._session)

    def _chosen(self, name: str) -> tuple[str, Entrance]:
        known = self._place.entrances
        if not name:
            return next(iter(known.items()))
        for each in (name, f"*{name}", f"*:{name}"):
            if each in known:
                return each, known[each]
        raise Unanswerable(f"nothing listens on {printable(name)}: the addresses are {', '.join(known)}")

    def _peeking(self) -> _Peeking:
        front = self._front
        return _Peeking(_Peeked(front), front.shared, front.counting, front.settings)

    def _made(self, client: str) -> Session:
        host, _, port = self._listener.rpartition(":")
        local = (host.strip("[]").replace("*", "0.0.0.0"), int(port))  # noqa: S104 — nothing is bound
        address = plain_address(client)
        session = Session(asyncio.get_running_loop(), (address, _PORT), local, self._entrance.options(address))
        if self._given.get("tls"):
            session.ssl = {"cipher": None}
            session.tls = "TLSv1.3"
            session.context["tls"] = "on"
        return session

    # ------------------------------------------------------------ the session's commands

    async def run(self) -> dict[str, Any]:
        try:
            await self._greeted()
            await self._introduced()
            await self._sender()
            await self._recipient()
        except _Seen:
            pass
        reply = self._reply
        return {
            "listener": self._listener,
            "steps": self._rows,
            "reply": _shown(reply) if reply is not None else "",
            "decided_by": reply.by if reply is not None else "",
            "unknown": list(dict.fromkeys(self._unknown)),
            "limits": [each async for each in self._limits()],
        }

    async def _greeted(self) -> None:
        session = self._session
        if session.options.context:
            session.context |= session.options.context
        session.can_relay = is_trusted(session)
        session.context["can_relay"] = "true" if session.can_relay else "false"
        self._row("connect", "listener", f"{self._listener}, options for {session.client_ip}; "
                  f"{'may' if session.can_relay else 'may not'} relay to any domain")  # fmt: skip
        if self._front.stopping or self._front.closed:
            self._end("connect", "listener", replies.SHUTTING_DOWN)
        listed, _ = foreseen(self._front, session) if session.options.refuse_lists else (None, None)
        if listed is not None:
            self._end("connect", listed.by, listed)
        if limit := await self._admission():
            self._end("connect", limit, replies.TOO_MANY_SESSIONS.decided_by(limit))
        rate = session.options.connection_rate_per_client
        if rate.count and not session.can_relay and await self._left("connection", rate) < 1:
            self._end("connect", "connection_rate_per_client", replies.TOO_MANY_CONNECTIONS)
        await self._ask(self._plan.at_connect)
        usual = self._plan.banner
        self._row("connect", "banner", "", usual if session.greeting is None else session.greeting(usual))

    async def _admission(self) -> str:
        """Return the limit of connections that one more would exceed. It is counted out again at once."""
        admission = Admission(self._front, self._entrance, self._session.client_network)
        shared = self._front.shared
        try:
            if shared is not None:
                claims = Admission.claims(self._session, self._entrance.address)
                full = [each.option for each in claims if await shared.places(each) >= each.most]
                return full[0] if full else ""
            return admission.limit_reached(self._session)
        finally:
            admission.end()

    async def _left(self, what: str, rate: Throttle) -> float:
        network, shared = self._session.client_network, self._front.shared
        if shared is not None:
            return await shared.left(Rate(what, network, rate))
        return self._front.rates.peek(f"{HERE}{network} {what}", rate)

    async def _limit(self, limit: Limit, phase: str) -> None:
        refusal = limit(self._limited)
        if isinstance(refusal, SharedRate):
            refusal = refusal.refusal if await refusal.shared.left(refusal.rate) < 1 else None
        if isinstance(refusal, Reply):  # a delay is not served here
            self._end(phase, refusal.by or "limit", refusal)

    async def _introduced(self) -> None:
        session, name = self._session, printable(str(self._given.get("helo") or "unknown"), 255)
        session.context |= helo_context(name, extended=True)
        session.host_name, session.extended_smtp = name, True
        await self._ask(self._plan.at_ehlo)
        user = str(self._given.get("user") or "")
        if user:
            session.authenticate(printable(user))
            self._row("auth", "login", f"as {printable(user)}; may relay to any domain")

    async def _sender(self) -> None:
        session = self._session
        for limit in self._plan.limits_on_mail:
            await self._limit(limit, "mailfrom")
        parsed = sender_of(_path("FROM", self._given["from"]), session.options, self._front.capabilities)
        if type(parsed) is Reply:
            self._end("mailfrom", "syntax", parsed)
            return
        path, parameters = parsed
        transaction = session.transaction = Transaction()
        transaction.begin(path, parameters)
        session.tell_counts()
        transaction.context |= mail_context(path, parameters)
        await self._ask(self._plan.at_mail)
        self._row("mailfrom", "reply", "", replies.SENDER_OK)

    async def _recipient(self) -> None:
        session = self._session
        recipient = recipient_of(
            _path("TO", self._given["rcpt"]), session.options, self._front.capabilities, utf8=False
        )
        if type(recipient) is Reply:
            self._end("rcptto", "syntax", recipient)
            return
        assert isinstance(recipient, Recipient)  # noqa: S101 — it is not a reply
        for limit in self._plan.limits_on_rcpt:
            await self._limit(limit, "rcptto")
        if not admits(session.options, session, recipient.path):
            self._end("rcptto", "relay_domains", replies.RELAYING_DENIED)
        session.current_recipient = recipient
        session.tell_counts()
        session.transaction.context |= recipient_context(recipient.path)
        await self._ask(self._plan.at_rcpt)
        transaction = session.transaction
        if transaction.discarded or not recipient.relayed:
            self._row("rcptto", "reply", "accepted and discarded", replies.RECIPIENT_OK)
            return
        self._route(recipient)

    def _route(self, recipient: Recipient) -> None:
        """Say which next hop gets the recipient. It decides the client's reply, but it is not asked now."""
        path = recipient.destination
        upstream = self._place.router.of_recipient(path.domain, self._session.transaction.binding, path.gateway)
        known = {pool.name: pool for pool in self._place.pools.all}
        pool = known.get(upstream.name)
        state = "not used yet" if pool is None else "known to be down" if pool.is_down else "no trouble known"
        self._row("rcptto", "route", f"{path.text} goes to {upstream.name} ({state})")
        if self._plan.at_content:
            phases = ", ".join(each.value for each in self._plan.at_content)
            self._unknown.append(f"the phases after DATA, which need the message: {phases}")
        self._unknown.append(f"the next hop's answer about {path.text}: it is not asked here")

    # ------------------------------------------------------------ policy

    async def _ask(self, phases: Sequence[Phase]) -> None:
        pipeline = self._front.pipeline
        if not isinstance(pipeline, PhasePipeline):
            return
        for phase in phases:
            for validator, shadowed in pipeline.steps(phase):
                if not isinstance(validator, Explains):
                    self._unknown.append(f"module {validator.name} at {phase.value}: its code is not run here")
                    self._row(phase.value, validator.name, "not run here")
                    continue
                found = await validator.explain(phase, self._session, self._verdicts)
                verdict = found.verdict.signed(validator.name)
                self._unknown += [f"{validator.name} at {phase.value}: {each}" for each in found.unknown]
                self._judged(phase, validator.name, found.says, verdict, (shadowed, bool(found.unknown)))

    def _judged(self, phase: Phase, name: str, says: str, verdict: Verdict, doubts: tuple[bool, bool]) -> None:
        shadowed, unknown = doubts
        if unknown:
            self._row(phase.value, name, f"unknown: {says}")
        elif shadowed:
            self._row(phase.value, name, f"in shadow, only logged: {says}", verdict.reply)
        elif verdict.reply is not None:
            self._row(phase.value, name, says)
            self._end(phase.value, verdict.reply.by or name, verdict.reply)
        else:
            self._row(phase.value, name, f"{says}; discards the message" if verdict.discard else f"{says}; passes")
            self._discarded(phase, verdict)

    def _discarded(self, phase: Phase, verdict: Verdict) -> None:
        recipient = self._session.current_recipient
        if verdict.discard and recipient is not None and phase in {Phase.RCPTTO, Phase.EACH_RCPT}:
            recipient.relayed, recipient.discarded_by = False, verdict.by
        elif verdict.discard:
            self._session.transaction.discarded = True

    # ------------------------------------------------------------ the answer

    def _row(self, phase: str, who: str, says: str, reply: Reply | None = None) -> None:
        text = "" if reply is None else _shown(reply)
        self._rows.append({"phase": phase, "who": printable(who), "says": printable(says, 1000), "reply": text})
        self._reply = reply or self._reply

    def _end(self, phase: str, who: str, reply: Reply) -> None:
        """The client gets this reply, and nothing after it."""
        self._row(phase, who, "refuses", reply)
        raise _Seen

    async def _limits(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the limits that are set for this client, with what all workers count for it."""
        session, front = self._session, self._front
        here = {
            "max_connections_per_client": front.clients.get(session.client_network, 0),
            "listener_sessions": self._entrance.connections,
            "service_sessions": front.connections,
        }
        for claim in Admission.claims(session, self._entrance.address):
            now = here[claim.option] if front.shared is None else await front.shared.places(claim)
            yield {"limit": claim.option, "most": str(claim.most), "now": str(now)}
        for name in RATES:
            rate = getattr(session.options, name)
            if rate.count:
                left = await self._left(name.partition("_")[0], rate)
                yield {"limit": name, "most": str(rate), "now": f"{left:.1f} left"}


def _shown(reply: Reply) -> str:
    return printable(f"{reply.code} {reply.text}", 500)


def _path(word: str, address: object) -> bytes:
    return f"{word}:<{address}>".encode("utf-8", "surrogateescape")


def _verdict(row: Mapping[str, Any]) -> CallbackVerdict:
    return CallbackVerdict(
        Status(row["status"]), str(row["reason"]), str(row["text"]), code=int(row.get("code") or 0),
        exchanger=str(row.get("exchanger") or ""), cached=True,
    )  # fmt: skip
