"""`greylist`: who is deferred, for how long, and what does not make a new triplet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path as File
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.counting.base import CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.mail import replies
from proxy.mail.address import path_of
from proxy.mail.evidence import Property, Result, report
from proxy.mail.session import Path, Session
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.greylist.greylister import Greylister, Whitelists
from proxy.modules.greylist.keys import LONGEST_KEY, network, sender_of, triplet
from proxy.modules.greylist.module import GreylistValidator
from proxy.modules.greylist.options import GreylistOptions
from proxy.modules.greylist.whitelists import ClientList, RecipientList, Unreadable
from proxy.modules.services import Names
from sieve.phases import Phase
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger, Step, says
from tests.support.growth import assert_linear
from tests.support.worker import Rule, WorkerStage, serving

ALICE, BOB, CAROL = "alice@sender.test", "bob@example.com", "carol@example.com"
LETTER = b"Subject: x\r\n\r\nx\r\n"
DEFERRED = "451 4.7.1 Greylisted, try again in 60 seconds"


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class HostNames:
    def __init__(self, name: str | None = None) -> None:
        self.name, self.asked = name, 0

    async def name_of(self, _address: str) -> str | None:
        self.asked += 1
        return self.name


@dataclass
class Scene:
    stage: WorkerStage
    clock: Clock
    upstream: Exchanger

    async def client(self, source: str = "127.0.0.1") -> Conversation:
        client = await self.stage.connection(source)
        await client.reply()
        await client.ehlo()
        return client

    async def rcpt(self, recipient: str = BOB, sender: str = ALICE, source: str = "127.0.0.1") -> str:
        """Return the reply to RCPT of a message that then is not sent."""
        client = await self.client(source)
        await client.ask(f"MAIL FROM:<{sender}>")
        answer = await client.ask(f"RCPT TO:<{recipient}>")
        await client.quit()
        return answer

    async def mail(self, recipient: str = BOB, sender: str = ALICE, source: str = "127.0.0.1") -> str:
        client = await self.client(source)
        answer = await client.deliver(sender, [recipient], LETTER)
        await client.quit()
        return answer


@asynccontextmanager
async def scene(
    *rules: Rule, clients: str = "", recipients: str = "", name: str | None = None, counting: Any = None, **options: Any
) -> AsyncIterator[Scene]:
    clock = Clock()
    listed = Whitelists(ClientList(), RecipientList())
    for line in clients.split():
        listed.clients.add(line)
    for line in recipients.split():
        listed.recipients.add(line)
    made = GreylistOptions(**options)
    judge = Greylister("g", made, listed, counting or MemoryCounting(clock), cast(Names, HostNames(name)))
    async with Exchanger() as upstream, serving(upstream, *rules, GreylistValidator("g", made, judge)) as stage:
        yield Scene(stage, clock, upstream)


# ---------------------------------------------------------------- the rule


async def test_a_first_attempt_is_deferred_and_a_later_one_passes() -> None:
    async with scene() as at:
        assert await at.rcpt() == DEFERRED
        at.clock.now += 20
        assert await at.rcpt() == "451 4.7.1 Greylisted, try again in 40 seconds"
        at.clock.now += 40
        assert (await at.mail()).startswith("250 ")
        assert (await at.mail()).startswith("250 ")
        assert await at.rcpt(CAROL) == DEFERRED
        assert await at.rcpt(sender="other@sender.test") == DEFERRED
        assert await at.rcpt(source="127.0.1.1") == DEFERRED
        assert (await at.mail(source="127.0.0.200")).startswith("250 ")  # the same /24


async def test_after_the_window_an_attempt_is_a_first_one_again_and_life_ends() -> None:
    async with scene(window=3600, life=7200, whitelist_after=0) as at:
        await at.rcpt()
        at.clock.now += 3601
        assert await at.rcpt() == DEFERRED
        at.clock.now += 60
        assert (await at.mail()).startswith("250 ")
        at.clock.now += 7100
        assert (await at.mail()).startswith("250 ")
        at.clock.now += 7201
        assert await at.rcpt() == DEFERRED


async def test_the_null_sender_is_decided_at_the_end_of_the_message() -> None:
    """Other sites' callbacks ask with the null sender: RCPT must tell whether the address exists."""
    async with scene() as at:
        assert (await at.rcpt(sender="")).startswith("250 ")
        assert await at.mail(sender="") == DEFERRED
        at.clock.now += 60
        assert (await at.mail(sender="")).startswith("250 ")
        assert len(at.upstream.messages) == 1


async def test_a_client_that_delivered_enough_messages_is_not_deferred_any_more() -> None:
    async with scene(whitelist_after=2) as at:
        await at.rcpt()
        at.clock.now += 60
        await at.mail()
        assert await at.rcpt(CAROL) == DEFERRED
        await at.mail()
        assert (await at.mail("dave@example.com", "x@elsewhere.test")).startswith("250 ")


async def test_only_what_the_next_hop_took_counts_as_delivered() -> None:
    async with scene(whitelist_after=2) as at:
        await at.rcpt()
        at.clock.now += 60
        at.upstream.script[Step.DOT] = says("554 5.7.1 no")
        for _ in range(3):
            assert (await at.mail()).startswith("554")
        assert await at.rcpt(CAROL) == DEFERRED


async def test_a_message_to_many_counts_once() -> None:
    async with scene(whitelist_after=2) as at:
        for recipient in (BOB, CAROL):
            await at.rcpt(recipient)
        at.clock.now += 60
        client = await at.client()
        assert (await client.deliver(ALICE, [BOB, CAROL], LETTER)).startswith("250 ")
        assert await at.rcpt("dave@example.com") == DEFERRED


@pytest.mark.parametrize(
    ("options", "recipient", "passes"),
    [
        ({"clients": "127.0.0.0/30"}, BOB, True),
        ({"clients": "127.0.0"}, BOB, True),
        ({"clients": "127.0.0.2"}, BOB, False),
        ({"clients": "provider.test", "name": "out-3.provider.test"}, BOB, True),
        ({"clients": "provider.test", "name": "notprovider.test"}, BOB, False),
        ({"clients": "provider.test", "name": None}, BOB, False),
        ({"clients": r"/^out-[0-9]+\.provider\.test$/", "name": "out-3.provider.test"}, BOB, True),
        ({"recipients": "bob@"}, BOB, True),
        ({"recipients": "bob@example.com"}, "bob+list@example.com", True),
        ({"recipients": "example.com"}, BOB, True),
        ({"recipients": "other.test"}, BOB, False),
        ({"recipients": "/^b.b@/"}, BOB, True),
        ({}, "postmaster@example.com", True),
        ({}, "Abuse@example.com", True),
        ({"exempt_recipients": ()}, "abuse@example.com", False),
    ],
)
async def test_who_is_never_deferred(options: dict[str, Any], recipient: str, *, passes: bool) -> None:
    async with scene(**options) as at:
        assert (await at.rcpt(recipient)).startswith("250 ") is passes


async def test_a_provider_whose_spf_passes_is_one_client_wherever_it_sends_from() -> None:
    async def passes(session: Session) -> Verdict:
        about = Property("smtp", "mailfrom", "alice@sender.test")
        report(session.transaction, "spf", Result("spf", "pass", (about,)))
        return PASS

    async with scene(Rule(Phase.MAILFROM, passes)) as at:
        assert await at.rcpt() == DEFERRED
        at.clock.now += 60
        assert (await at.rcpt(source="127.9.9.9")).startswith("250 ")
    async with scene(Rule(Phase.MAILFROM, passes), spf_domain=False) as at:
        assert await at.rcpt() == DEFERRED
        at.clock.now += 60
        assert await at.rcpt(source="127.9.9.9") == DEFERRED


async def test_mail_that_an_earlier_module_refuses_is_no_attempt() -> None:
    refusing = Rule(Phase.RCPTTO, Verdict(None))
    async with scene(refusing) as at:
        refusing.answer = Verdict(await _refusal())
        assert (await at.rcpt()).startswith("550")
        at.clock.now += 60
        refusing.answer = PASS
        assert await at.rcpt() == DEFERRED


async def _refusal() -> Any:
    return replies.from_policy(550, "5.7.1 no")


async def test_in_shadow_mode_nothing_is_deferred_and_the_log_has_what_would_be() -> None:
    async with scene(shadow=True) as at:
        with capture_logs() as log:
            assert (await at.rcpt()).startswith("250 ")
    assert [each["validator"] for each in log if each["event"] == "shadowed"] == ["g"]


async def test_a_deferral_is_an_event_with_the_seconds() -> None:
    async with scene() as at:
        with capture_logs() as log:
            await at.rcpt()
            at.clock.now += 30
            await at.rcpt()
    told = [(each["first_attempt"], each["wait"], each["known_as"]) for each in log if each["event"] == "greylisted"]
    assert told == [(True, 60.0, "127.0.0.0/24"), (False, 30.0, "127.0.0.0/24")]
    (first, _) = [each for each in log if each["event"] == "recipient"]
    assert (first["decided_by"], first["disposition"]) == ("g", "deferred")


class _Down:
    def ask(self, _operation: object) -> object:
        raise CountingUnavailable("down")

    def tell(self, operation: object) -> None:
        """Nobody hears."""


@pytest.mark.parametrize(("policy", "answer"), [("accept", "250"), ("defer", "451")])
async def test_while_nobody_counts_the_option_decides(policy: str, answer: str) -> None:
    async with scene(counting=_Down(), on_store_error=policy) as at:
        assert (await at.rcpt())[:3] == answer


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bounce-1234-99@list.test", "bounce-1235-7@list.test"),
        ("bounces+77-bob=example.com@list.test", "bounces+78-bob=example.com@list.test"),
        ("prvs=0123456789=alice@sender.test", "prvs=1199abcdef=alice@sender.test"),
        ("prvs=alice/0123456789@sender.test", "prvs=alice/0123456789@sender.test"),
        ("msprvs1=19abcdefgh12=bounces-27-1@mailer.test", "msprvs1=19zbcdefgh99=bounces-28-2@mailer.test"),
        ("SRS0=HHHH=TT=origin.test=alice@fwd.test", "srs0=JJJJ=UU=origin.test=alice@fwd.test"),
        (
            "SRS1=aaaa=fwd.test==HHHH=TT=origin.test=alice@other.test",
            "SRS1=bbbb=fwd.test==JJJJ=UU=origin.test=alice@other.test",
        ),
        (
            "0100018f-dead-c0de-0123456789ab-0000@ses.test",
            "0100018e-d00d-f00d-ba9876543210-0000@ses.test",
        ),
        ("Alice@Sender.test", "alice@sender.test"),
    ],
)
def test_what_changes_with_each_message_makes_no_new_triplet(one: str, other: str) -> None:
    bob = path_of(BOB)
    assert sender_of(path_of(one), bob) == sender_of(path_of(other), bob)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice@sender.test", "alicia@sender.test"),
        ("alice@sender.test", "alice@other.test"),
        ("SRS0=HHHH=TT=origin.test=alice@fwd.test", "SRS0=HHHH=TT=origin.test=mallory@fwd.test"),
        ("prvs=0123456789=alice@sender.test", "prvs=0123456789=mallory@sender.test"),
        ("deadbeefs@sender.test", "feedbeef@sender.test"),
    ],
)
def test_other_senders_are_other_triplets(one: str, other: str) -> None:
    bob = path_of(BOB)
    assert sender_of(path_of(one), bob) != sender_of(path_of(other), bob)


@pytest.mark.parametrize("piece", ["abcd-", "1abc-", "f", "1", "prvs=a=", "bob=example.com"])
def test_a_long_sender_costs_as_much_as_it_is_long(piece: str) -> None:
    def work(size: int) -> Callable[[], object]:
        local = piece * size + "x"
        return partial(sender_of, Path(f"{local}@x.test".encode(), local, "x.test"), path_of(BOB))

    assert_linear(piece, work, largest=20_000)


def test_verp_names_the_recipient_and_makes_one_triplet_for_each_list() -> None:
    assert sender_of(path_of("l-bob=example.com@list.test"), path_of(BOB)) == "l-#@list.test"


def test_a_network_is_the_prefix_of_its_family() -> None:
    assert network("192.0.2.77", 24, 64) == "192.0.2.0/24"
    assert network("2001:db8:1:2:3:4:5:6", 24, 64) == "2001:db8:1:2::/64"
    assert network("192.0.2.77", 32, 64) == "192.0.2.77/32"


def test_a_key_is_bounded_and_long_ones_stay_different() -> None:
    keys = {triplet("192.0.2.0/24", path_of(f"{'a' * 60}@{'b' * 60}.{tail}.test"), path_of(BOB)) for tail in "cde"}
    long = {triplet("spf:" + "x" * 250 + tail, path_of(ALICE), path_of(BOB)) for tail in "abc"}
    assert (len(keys), len(long)) == (3, 3)
    assert max(map(len, keys | long)) <= LONGEST_KEY


# ---------------------------------------------------------------- the configuration


CONFIGURATION = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Hostname = "mx.test"
Gateway = "127.0.0.1"
Remote_SMTP_Port = 1
Relay_Domains = ( example.com )
State_Directory = "{folder}"
greylist "main" {{
{lines}
}}
"""


def _load(folder: File, *lines: str) -> list[str]:
    file = folder / "c.conf"
    file.write_text(CONFIGURATION.format(folder=folder, lines="\n".join(lines)))
    try:
        return [each.message for each in load(file)[1]]
    except ConfigurationRejected as rejected:
        return [each.message for each in rejected.diagnostics]


def test_postgreys_files_are_read_and_a_wrong_line_is_told(tmp_path: File) -> None:
    (tmp_path / "clients").write_text(
        "# postgrey whitelist\n# 2021-01-01: x\n/^unknown-.*/\n192.0.2.0/24\n198.51.100\n2001:db8::/32\nexample.org\n"
        "/^mail(?!x)/\n300.1.2.0/24\n"
    )
    told = _load(tmp_path, '  whitelist_clients = ( "clients" )')
    assert len(told) == 2
    assert "RE2" in told[0]
    assert "not a network: 300.1.2.0/24" in told[1]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("  delay = 2d\n  window = 60", "delay must be shorter"),
        ('  whitelist_clients = ( "nowhere" )', "cannot read"),
        ('  text = "5.7.1 no"', "not the text of a deferral"),
        ('  text = "4.7.1 %s of %s"', "not the text of a deferral"),
        ("  delay = 0", "delay"),
    ],
)
def test_a_mistake_in_the_stanza_is_told(tmp_path: File, line: str, word: str) -> None:
    assert any(word in each for each in _load(tmp_path, line)), _load(tmp_path, line)


def test_a_line_that_means_nothing_is_refused() -> None:
    for line in ("/(/", "1.2.3.4/99", "::1::"):
        with pytest.raises(Unreadable):
            ClientList().add(line)
