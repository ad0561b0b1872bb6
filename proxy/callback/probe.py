"""Ask the exchangers of an address once: greeting, EHLO, TLS, MAIL FROM, RCPT TO, QUIT, each step with a time limit.

A host that cannot be reached or refuses to talk is skipped; the first one that answers RCPT TO decides. We give our
true name, say QUIT, and ask one host at a time.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from proxy.callback.classify import Judgement, alike
from proxy.callback.echo import Said
from proxy.callback.hearing import words_of
from proxy.callback.limits.budgets import network_of
from proxy.callback.manner import ProbeSettings
from proxy.callback.observer import NOBODY, Observer
from proxy.callback.question import Question
from proxy.callback.resolve import ExchangerHost
from proxy.callback.verdict import CallbackVerdict, Status, printable_text
from proxy.mail.replies import Reply
from proxy.outgoing.dial import NotReached, family_of, reach
from proxy.outgoing.handshake import IN_THE_CLEAR, Dial, GreetingRefused, Tls, TlsFailed, Unreached, dial
from proxy.outgoing.wire import Garbled, Wire, WireBroken

CONNECT_SECONDS = 5.0
"""For all addresses of one exchanger together."""

REPLY_SECONDS = 10.0
"""For its greeting, which some servers delay by six seconds on purpose, and for each of its replies."""

QUIT_SECONDS = 1.0


class Gate(Protocol):
    """Guards access to other people's servers: budgets, breakers, and places in line."""

    def place(self, address: str) -> AbstractAsyncContextManager[None]:
        """Wait in line at an address, and hold the place during the conversation."""
        ...

    async def admits(self, address: str, *, paid: bool) -> str | None:
        """Take the cost of a conversation with the address from the budgets; return the reason if it is not allowed.

        `paid` says that this conversation already paid for another address of the same network.
        """
        ...

    async def heard(self, verdict: CallbackVerdict | None, address: str, admitted: Sequence[str], unknown: int) -> None:
        """Record the outcome (None if the conversation was cut short), and give back what it did not cost.

        `address` was talked to (empty: none was), and `admitted` are the addresses that were paid for. `unknown` counts
        the recipients that it rejected as unknown, and those that it was asked about without an answer that reached us.
        """
        ...


async def ask(
    question: Question, manner: ProbeSettings, hosts: Sequence[ExchangerHost], gate: Gate, observer: Observer = NOBODY
) -> CallbackVerdict:
    """Return the first decisive answer of the hosts, or what the last failure means.

    The caller sets a deadline for the whole.
    """
    verdict = CallbackVerdict(Status.TRANSIENT, "connect", "no exchanger could be asked", stage="connect")
    verdicts: list[CallbackVerdict] = []
    for host in hosts:
        verdict, decisive = await _ask_host(question, manner, host, gate, observer)
        if decisive:
            return verdict
        verdicts.append(verdict)
    # A host skipped for this client's budget may answer others, so the other hosts' failures do not condemn the domain.
    spared = next((each for each in verdicts if each.reason == "client_throttled"), None)
    if spared is not None:
        return spared
    # If all hosts refuse to talk to us, it is an error; one transient failure makes the whole transient.
    return next((each for each in reversed(verdicts) if each.status is Status.TRANSIENT), verdict)


async def _ask_host(
    question: Question, manner: ProbeSettings, host: ExchangerHost, gate: Gate, observer: Observer
) -> tuple[CallbackVerdict, bool]:
    """Return one exchanger's verdict, and whether it is decisive."""
    async with gate.place(host.addresses[0]):  # after waiting, we may have become unwelcome
        visit = _Visit(question, manner, host.name, gate, observer)
        verdict = None
        try:
            verdict, decisive = await visit.paid(host.addresses)
        finally:
            await gate.heard(verdict, visit.address, visit.admitted, visit.unknown)
    if not decisive and visit.admitted:
        observer.note("passed_over", host=host.name, address=verdict.address, why=verdict.message)
    return verdict, decisive


_NOT_ASKED = {
    "throttled": "the probe budget of its exchanger is used up for now",
    "client_throttled": "this client's network has used up its share of the exchanger's budget",
    "breaker": "its exchanger rejected us recently",
}


class _Turned(Exception):
    """No conversation took place."""

    def __init__(self, verdict: CallbackVerdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class _Visit:
    """One conversation with one exchanger."""

    def __init__(
        self, question: Question, manner: ProbeSettings, exchanger: str, gate: Gate, observer: Observer
    ) -> None:
        self._question, self._manner, self._gate, self._observer = question, manner, gate, observer
        self.admitted: list[str] = []
        self._refusal: str | None = None
        self.unknown = 0
        """Recipients that it rejected as unknown in this conversation, or may have rejected: its answer is missing."""
        senders = tuple(dict.fromkeys(each for each in (question.sender, manner.fallback) if each))
        self._said = Said(question.address, manner.helo, senders)
        self._exchanger = exchanger
        self.address = ""
        """The exchanger's address that was talked to; empty if none was."""
        self._tls = self._catchall = self._null_refused = False

    def _found(
        self, judgement: Judgement, stage: str, code: int, text: str, answer: Reply | None = None
    ) -> CallbackVerdict:
        """Return a verdict. The exchanger's words come from `answer`, or from `text` if there is a code."""
        status, reason = judgement
        words = words_of(answer.lines) if answer is not None else text
        listed = bool(code) and status is not Status.PASS and self._manner.classifier.is_block(words, self._said)
        return CallbackVerdict(
            status, reason, printable_text(text), stage, code, self._exchanger, self.address,
            0.0, self._tls, self._catchall, self._null_refused, listed,
        )  # fmt: skip

    # ------------------------------------------------------------ up to EHLO

    async def paid(self, addresses: Sequence[str]) -> tuple[CallbackVerdict, bool]:
        """Return the verdict of the exchanger, and whether it is decisive."""
        try:
            wire = await self._arrive([address for address in addresses if await self._may_connect(address)])
        except _Turned as turned:
            return turned.verdict, False
        return await self._converse(wire)

    async def _may_connect(self, address: str, *, again: bool = False) -> bool:
        """Ask the gate. A conversation pays for a network once, however many of its addresses are tried."""
        paid = not again and network_of(address) in {network_of(each) for each in self.admitted}
        self._refusal = await self._gate.admits(address, paid=paid)
        if self._refusal is None:
            self.admitted += [] if paid else [address]
            return True
        why = _NOT_ASKED[self._refusal]
        self._observer.note("passed_over", host=self._exchanger, address=address, why=why)
        return False

    def _not_admitted(self) -> _Turned:
        reason = self._refusal or "throttled"
        return self._turned(reason, f"not asked: {_NOT_ASKED[reason]}")

    async def _arrive(self, addresses: Sequence[str]) -> Wire:
        """Connect to one of the addresses and send EHLO; if TLS fails, connect once more without it.

        Raises:
            _Turned: no address accepted the connection, or the server refuses to talk to us.
        """
        if not addresses:
            raise self._not_admitted()
        tls = IN_THE_CLEAR if self._manner.tls is None else Tls("ifavailable", self._manner.tls)
        try:
            wire = await self._greeted(addresses, tls)
        except TlsFailed as failed:
            if not await self._may_connect(self.address, again=True):
                raise self._not_admitted() from None
            try:
                wire = await self._greeted([self.address], IN_THE_CLEAR)
            except _Turned as turned:
                if turned.verdict.status is Status.TRANSIENT and not turned.verdict.code:  # the server did not speak
                    raise self._turned("tls", str(failed)) from None
                raise
        if wire.peer_name and wire.peer_name == self._manner.helo.lower():
            await wire.quit(QUIT_SECONDS)
            raise _Turned(self._found((Status.ERROR, "loop"), "ehlo", 0, "its mail exchanger has our own name"))
        secured = wire.transport.get_extra_info("ssl_object")
        if secured is not None:
            self._tls = True
            self._observer.note("tls", version=secured.version())
        return wire

    async def _dial(self, addresses: Sequence[str], tls: Tls) -> Wire:
        manner = self._manner
        # An observer must see the connection first, so the socket is connected separately. One step costs less.
        direct = len(addresses) == 1 and not self._observer.sees_connecting
        address, sock = (addresses[0], None) if direct else await self._fastest(addresses)
        seconds = CONNECT_SECONDS + REPLY_SECONDS if direct else REPLY_SECONDS
        target = Dial(
            address, manner.port, manner.helo, seconds, REPLY_SECONDS, tls,
            local=manner.bind.get(family_of(address), ""), listener=self._observer.said,
        )  # fmt: skip
        try:
            wire = await dial(target, sock)
        except Unreached as error:
            raise self._turned("connect", str(error)) from None
        except BaseException:
            self.address = address
            raise
        self.address = address
        return wire

    async def _fastest(self, addresses: Sequence[str]) -> tuple[str, socket.socket]:
        """Return the address that accepted a connection first, and its socket."""
        host, port = self._exchanger, self._manner.port
        self._observer.note("connecting", host=host, addresses=tuple(addresses))
        try:
            reached = await reach([(address, port) for address in addresses], CONNECT_SECONDS, self._manner.bind)
        except NotReached as error:
            raise self._turned("connect", str(error) or "timeout") from None
        address = addresses[reached.winner]
        self._observer.note("connected", host=host, address=address, port=port)
        return address, reached.sock

    async def _greeted(self, addresses: Sequence[str], tls: Tls) -> Wire:
        """Connect and send EHLO."""
        manner = self._manner
        try:
            return await self._dial(addresses, tls)
        except TlsFailed:
            raise
        except GreetingRefused as refused:
            judgement = manner.classifier.greeting(refused.code, refused.text)
            raise _Turned(self._found(judgement, refused.stage, refused.code, refused.text)) from None
        except Garbled as error:
            raise _Turned(self._found((Status.ERROR, "protocol"), "banner", 0, str(error))) from None
        except (WireBroken, TimeoutError) as error:
            raise self._turned("timeout", str(error) or "timeout") from None

    def _turned(self, reason: str, text: str) -> _Turned:
        return _Turned(self._found((Status.TRANSIENT, reason), "connect", 0, text))

    # ------------------------------------------------------------ MAIL and RCPT

    async def _converse(self, wire: Wire) -> tuple[CallbackVerdict, bool]:
        """Ask, say QUIT, and return the verdict and whether it is decisive."""
        try:
            verdict, decisive = await self._ask(wire)
        except (WireBroken, TimeoutError) as error:
            await self._leave(wire)
            if wire.garbled:
                return self._found((Status.ERROR, "protocol"), "rcpt", 0, str(error)), False
            return self._found((Status.TRANSIENT, "timeout"), "rcpt", 0, str(error) or "timeout"), False
        except BaseException:
            wire.abort("given up")
            raise
        await self._leave(wire)
        if wire.garbled:  # extra data arrived: replies can no longer be matched to commands
            return self._found((Status.ERROR, "protocol"), "rcpt", verdict.code, verdict.text), False
        return verdict, decisive

    @staticmethod
    async def _leave(wire: Wire) -> None:
        """Say QUIT, unless the peer no longer answers."""
        if wire.broken is None:
            await wire.quit(QUIT_SECONDS)

    async def _ask(self, wire: Wire) -> tuple[CallbackVerdict, bool]:
        question, manner = self._question, self._manner
        if question.needs_utf8 and "smtputf8" not in wire.extensions:
            text = "the exchanger does not accept UTF-8 addresses"
            return self._found((Status.FAIL, "no_smtputf8"), "ehlo", 0, text), True
        mail = await self._mail(wire, question.sender)
        if mail.permanent and mail.code != 421 and not question.sender and manner.fallback:
            self._null_refused = True
            mail = await self._mail(wire, manner.fallback)
        if not mail.accepted:
            return self._mail_refused(mail)
        rcpt = await self._rcpt(wire, question.address)
        if self._may_be_about_null_sender(rcpt):
            self._null_refused = True
            reset = await wire.ask(b"RSET\r\n", REPLY_SECONDS)
            if reset.accepted and (await self._mail(wire, manner.fallback)).accepted:
                rcpt = await self._rcpt(wire, question.address)
        judgement = manner.classifier.recipient(rcpt, self._said)
        self.unknown += judgement[1] == "no_such_user"
        if manner.catchall:
            judgement = await self._compared(wire, rcpt, judgement)
        verdict = self._found(judgement, "rcpt", rcpt.code, rcpt.text, rcpt)
        return verdict, rcpt.code != 421

    async def _mail(self, wire: Wire, sender: str) -> Reply:
        option = " SMTPUTF8" if self._question.needs_utf8 else ""
        return await wire.ask(f"MAIL FROM:<{sender}>{option}\r\n".encode(), REPLY_SECONDS)

    async def _rcpt(self, wire: Wire, address: str) -> Reply:
        self.unknown += 1  # if no answer reaches us, the exchanger may still have counted an unknown user
        reply = await wire.ask(f"RCPT TO:<{address}>\r\n".encode(), REPLY_SECONDS)
        self.unknown -= 1
        return reply

    def _may_be_about_null_sender(self, rcpt: Reply) -> bool:
        if self._question.sender or not self._manner.fallback or self._null_refused:
            return False
        return self._manner.classifier.is_about_null_sender(rcpt, self._said)

    def _mail_refused(self, mail: Reply) -> tuple[CallbackVerdict, bool]:
        """Judge a refused MAIL FROM: it is about us, not about the address."""
        judgement = self._manner.classifier.sender(mail)
        null = not self._question.sender
        if judgement == (Status.ERROR, "mail_refused") and null:
            self._null_refused = True
            judgement = (self._manner.null_refused, "mail_refused")
        return self._found(judgement, "mail", mail.code, mail.text, mail), mail.permanent

    async def _compared(self, wire: Wire, rcpt: Reply, judgement: Judgement) -> Judgement:
        """Also ask for a recipient that cannot exist: a server that answers both alike proves nothing.

        Some exchangers answer a second recipient with 452, which tells nothing either.
        """
        wanted = rcpt.accepted or judgement[0] is Status.FAIL
        if not wanted:
            return judgement
        address = self._question.address
        nobody = f"{secrets.token_hex(8)}@{self._question.domain}"
        random = await self._rcpt(wire, nobody)
        self.unknown += 1
        if rcpt.accepted and random.accepted:
            self._catchall = True
            return Status.PASS, "catchall"
        if judgement[0] is Status.FAIL and alike(rcpt, address, random, nobody):
            return Status.ERROR, "policy"
        return judgement
