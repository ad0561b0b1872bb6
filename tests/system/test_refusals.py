"""Refusals of real mail servers: what they say of the client, which is us, is 451; what they say of the mail passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exim_server import EximUpstream
from tests.support.house import greeted, opened
from tests.support.ringback import Ringback
from tests.support.servers import REFUSED_RECIPIENT, REFUSED_REPLY, Postfix
from tests.support.waiting import eventually
from tests.support.world import Stage
from tests.system.test_behind_it import REFUSED_US, recipient

pytestmark = pytest.mark.real("dnsmasq")

SENDER = "a@sender.test"


async def verdict(ringback: Ringback, sender: str = SENDER, rcpt: str = "b@example.com") -> str:
    """Return what a client hears of its only recipient."""
    async with await greeted(ringback) as client:
        assert (await client.ask(f"MAIL FROM:<{sender}>")).startswith("250 ")
        return await client.ask(f"RCPT TO:<{rcpt}>")


POSTFIX_OF_US = {
    "client": "smtpd_client_restrictions = reject",
    "client-access": "smtpd_client_restrictions = check_client_access static:{550 5.7.1 go away}",
    "client-521": "smtpd_client_restrictions = check_client_access static:{521 5.7.1 go away}",
    "unknown-client": "smtpd_client_restrictions = reject_unknown_client_hostname\nunknown_client_reject_code = 550",
    "reverse": "smtpd_client_restrictions = reject_unknown_reverse_client_hostname\nunknown_client_reject_code = 554",
    "helo-fqdn": "smtpd_helo_restrictions = reject_non_fqdn_helo_hostname",
    "helo-invalid": "smtpd_helo_restrictions = reject_invalid_helo_hostname",
    "helo-access": "smtpd_helo_restrictions = check_helo_access static:{554 5.7.1 not this name}",
}
NAMES = {"helo-fqdn": "ringback", "helo-invalid": "ring_back-"}


@pytest.mark.real("postfix")
@pytest.mark.parametrize("case", POSTFIX_OF_US)
async def test_what_postfix_says_of_its_client_is_451(stage: Stage, tmp_path: Path, case: str) -> None:
    settings = dict(line.split(" = ", 1) for line in POSTFIX_OF_US[case].splitlines())
    name = NAMES.get(case, "ringback.test")
    with Postfix(options=settings) as postfix:
        ringback = await opened(stage, tmp_path, f'EHLO_Hostname = "{name}"', upstream_port=postfix.port)
        assert await verdict(ringback) == REFUSED_US
        await eventually(lambda: "NOQUEUE: reject: " in postfix.log, "Postfix logs that it refused")


@pytest.mark.real("postfix")
@pytest.mark.parametrize("case", ["client", "client-access", "client-521", "helo-access"])
async def test_a_client_that_postfix_knows_by_xclient_hears_it_word_for_word(
    stage: Stage, tmp_path: Path, case: str
) -> None:
    settings = dict(line.split(" = ", 1) for line in POSTFIX_OF_US[case].splitlines())
    with Postfix(options={**settings, "smtpd_authorized_xclient_hosts": "127.0.0.1"}) as postfix:
        ringback = await opened(stage, tmp_path, "XCLIENT = required", upstream_port=postfix.port)
        heard = await verdict(ringback)
    assert heard.startswith("5")
    assert "rejected" in heard


POSTFIX_OF_MAIL = {
    "unknown-user": ("", SENDER, REFUSED_RECIPIENT, REFUSED_REPLY),
    "sender": (
        "smtpd_sender_restrictions = check_sender_access static:{554 5.7.1 not this one}",
        SENDER,
        "b@example.com",
        f"554 5.7.1 <{SENDER}>: Sender address rejected: not this one",
    ),
    "sender-fqdn": (
        "smtpd_sender_restrictions = reject_non_fqdn_sender",
        "a@localhost",
        "b@example.com",
        "504 5.5.2 <a@localhost>: Sender address rejected: need fully-qualified address",
    ),
    "relay": ("", SENDER, "b@other.test", "554 5.7.1 <b@other.test>: Recipient address rejected: Access denied"),
    "address-like-helo": (
        "smtpd_sender_restrictions = check_sender_access static:{554 5.7.1 no}",
        "helo@ringback.test",
        "b@example.com",
        "554 5.7.1 <helo@ringback.test>: Sender address rejected: no",
    ),
}


@pytest.mark.real("postfix")
@pytest.mark.parametrize("case", POSTFIX_OF_MAIL)
async def test_what_postfix_says_of_the_mail_is_heard_word_for_word(stage: Stage, tmp_path: Path, case: str) -> None:
    written, sender, rcpt, expected = POSTFIX_OF_MAIL[case]
    settings = dict(line.split(" = ", 1) for line in written.splitlines())
    with Postfix(options=settings) as postfix:
        ringback = await opened(stage, tmp_path, upstream_port=postfix.port)
        assert await verdict(ringback, sender, rcpt) == expected


EXIM_OF_US = {
    "dnsbl": "rejected because 127.0.0.1 is in a black list at bl.test",
    "host": "deny $sender_host_address",
    "helo": "Access denied - Invalid HELO name (See RFC2821 4.1.1.1)",
    "ptr": "Reverse DNS lookup failed for host $sender_host_address",
}


@pytest.mark.real("exim4")
@pytest.mark.parametrize("case", EXIM_OF_US)
async def test_what_exim_says_of_its_client_is_451(stage: Stage, tmp_path: Path, case: str) -> None:
    with EximUpstream([f"acl_smtp_mail = deny message = {EXIM_OF_US[case]}"]) as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        assert await recipient(ringback) == REFUSED_US


@pytest.mark.real("exim4")
async def test_what_exim_says_of_the_mail_is_heard_word_for_word(stage: Stage, tmp_path: Path) -> None:
    with EximUpstream() as exim:
        ringback = await opened(stage, tmp_path, upstream_port=exim.port)
        assert await recipient(ringback, REFUSED_RECIPIENT) == "550 No such person here"
        assert await recipient(ringback, "b@other.test") == "550 relay not permitted"
