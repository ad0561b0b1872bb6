"""Postmaster and abuse stay open, whatever callbacks say (RFC 5321 section 4.5.1, RFC 2142)."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from config.settings import Settings
from proxy.callback.service import CallbackService, Rules
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.callback.verifier import CallbackVerifier
from proxy.dns.resolver import Resolver
from proxy.mail.session import Recipient, Session
from proxy.modules.services import Services
from proxy.modules.sieve_policy.effects import path_of
from proxy.modules.sieve_policy.host import SessionHost
from sieve.phases import Phase
from tests.support.answers import RemembersNothing, settled
from tests.support.worker import core


class Refusing(RemembersNothing):
    """A verifier that calls every address unknown, and counts its questions."""

    asked = 0

    async def verify(self, _address: str, _sender: str | None, *, client: str, session: str = "") -> CallbackVerdict:  # noqa: ARG002 - as the verifier is called
        assert client == "192.0.2.1"
        self.asked += 1
        return CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", code=550)


def host(phase: Phase, recipient: str, verifier: Refusing) -> SessionHost:
    options = core()
    session = Session(asyncio.get_running_loop(), ("192.0.2.1", 1), ("192.0.2.2", 25), options)
    session.current_recipient = Recipient(path_of(recipient))
    rules = Rules(exempt_recipients=frozenset({"postmaster", "abuse"}))
    callbacks = CallbackService(cast(CallbackVerifier, verifier), rules, lambda: False)
    services = Services(options, cast(Settings, None), cast(Resolver, None), callbacks)  # nothing is looked up
    return SessionHost(session, services, phase)


@pytest.mark.parametrize("recipient", ["postmaster@example.com", "Abuse@example.com", "postmaster"])
@pytest.mark.parametrize("phase", [Phase.RCPTTO, Phase.EACH_RCPT])
async def test_no_callback_judges_mail_for_postmaster_and_abuse(phase: Phase, recipient: str) -> None:
    verifier = Refusing()
    answer = await settled(host(phase, recipient, verifier).callback("alice@sender.test", None))
    assert (answer.status, verifier.asked) == ("pass", 0)


@pytest.mark.parametrize(
    ("phase", "recipient"), [(Phase.RCPTTO, "bob@example.com"), (Phase.MAILFROM, "postmaster@example.com")]
)
async def test_other_recipients_and_the_mailfrom_phase_are_judged(phase: Phase, recipient: str) -> None:
    verifier = Refusing()
    answer = await settled(host(phase, recipient, verifier).callback("alice@sender.test", None))
    assert (answer.status, verifier.asked) == ("fail", 1)
