"""Which upstream gets a recipient's mail, over which connections, and what a client hears where one fails."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.support.conversation import Conversation
from tests.support.exchanger import EXTENSIONS, FRIENDLY, Act, Dialogue, Exchanger, Step, closes, is_silent, says, sends
from tests.support.house import below_received, greeted, opened, transactions
from tests.support.mute import mute
from tests.support.programs import free_port
from tests.support.ringback import Ringback
from tests.support.servers import Dnsmasq, Postfix, Zone
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

LETTER = b"Subject: to whom it concerns\r\n\r\nbody\r\n"
UNREACHABLE = "451 4.4.1 Next-hop server is unreachable, try again later"
LOST = "451 4.4.2 Next-hop server did not answer, try again later"
REFUSED_US = "451 4.3.5 Next-hop server rejected our session, try again later"
SEPARATELY = "452 4.5.3 Recipients are on different servers; send this one separately"


async def sent(ringback: Ringback, *recipients: str, source: str | None = None) -> str:
    """Run a whole transaction as a client; return the reply to the dot."""
    async with await ringback.conversation(source=source) as client:
        return await client.deliver("a@sender.test", recipients or ("b@example.com",), LETTER)


async def begun(ringback: Ringback, *recipients: str, source: str | None = None) -> Conversation:
    """Return a client whose recipients were accepted."""
    client = await greeted(ringback, source=source)
    for command in ("MAIL FROM:<a@sender.test>", *(f"RCPT TO:<{each}>" for each in recipients)):
        reply = await client.ask(command)
        assert reply.startswith("250 "), f"{command} was answered {reply!r}"
    return client


async def finished(client: Conversation) -> str:
    """Say DATA and the message; return the reply to the dot."""
    answer = await client.ask("DATA")
    return await client.content(LETTER) if answer.startswith("354 ") else answer


def recipients_of(upstream: Exchanger) -> list[str]:
    """Return the recipients of all accepted messages."""
    return [re.sub(r"RCPT TO:<(.*)>", r"\1", each) for message in upstream.messages for each in message.recipients]


def users(upstream: Exchanger) -> list[Dialogue]:
    """Return the connections that carried a transaction; those that only warmed the pool are left out."""
    return [each for each in upstream.dialogues if each.sender]


# ---------------------------------------------------------------- domains


async def test_recipients_of_different_upstreams_go_in_transactions_of_their_own(stage: Stage, tmp_path: Path) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    ringback = await opened(
        stage, tmp_path, f'Domain "other.test" {{ Gateway = "127.0.0.1:{second.port}" }}', upstream_port=first.port
    )
    async with await begun(ringback, "one@example.com") as client:
        assert await client.ask("RCPT TO:<two@other.test>") == SEPARATELY
        assert (await client.ask("RCPT TO:<three@example.com>")).startswith("250 ")
        assert (await finished(client)).startswith("250 ")
        assert (await client.deliver("a@sender.test", ["two@other.test"], LETTER)).startswith("250 ")
    assert recipients_of(first) == ["one@example.com", "three@example.com"]
    assert recipients_of(second) == ["two@other.test"]
    assert first.count("RCPT TO:<two@other.test>") == 0


async def test_domains_with_the_same_upstream_share_a_transaction(stage: Stage, tmp_path: Path) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    gateway = f'Gateway = "127.0.0.1:{second.port}"'
    ringback = await opened(
        stage, tmp_path,
        f'Domain "one.test" {{ {gateway} }}', f'Domain "two.test" {{ {gateway} }}',
        f'Domain "/[.]three[.]test$/" {{ {gateway} }}',
        upstream_port=first.port,
    )  # fmt: skip
    names = ("a@one.test", "b@TWO.test", "c@deep.three.test", "d@one.test")
    assert (await sent(ringback, *names)).startswith("250 ")
    assert transactions(second) == [("MAIL FROM:<a@sender.test>", *(f"RCPT TO:<{each}>" for each in names))]
    assert first.messages == []


async def test_a_domain_named_exactly_comes_before_expressions_and_these_in_written_order(
    stage: Stage, tmp_path: Path
) -> None:
    named = {name: await stage.upstream() for name in ("default", "exact", "first", "second")}
    ringback = await opened(
        stage, tmp_path,
        f'Domain "/^m.*[.]test$/" {{ Gateway = "127.0.0.1:{named["first"].port}" }}',
        f'Domain "/[.]test$/" {{ Gateway = "127.0.0.1:{named["second"].port}" }}',
        f'Domain "mx.test" {{ Gateway = "127.0.0.1:{named["exact"].port}" }}',
        upstream_port=named["default"].port,
    )  # fmt: skip
    for recipient in ("a@example.com", "b@MX.test", "c@mail.test", "d@post.test"):
        assert (await sent(ringback, recipient)).startswith("250 ")
    assert {name: recipients_of(each) for name, each in named.items()} == {
        "default": ["a@example.com"], "exact": ["b@MX.test"], "first": ["c@mail.test"], "second": ["d@post.test"],
    }  # fmt: skip


async def test_an_option_of_a_domain_alone_makes_it_an_upstream_of_its_own(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, 'Domain "other.test" { EHLO_Hostname = "special.test" }', upstream_port=upstream.port
    )
    async with await begun(ringback, "one@example.com") as client:
        assert await client.ask("RCPT TO:<two@other.test>") == SEPARATELY
    assert (await sent(ringback, "two@other.test")).startswith("250 ")
    spoken = next(each for each in upstream.dialogues if "RCPT TO:<two@other.test>" in each.commands)
    assert spoken.commands[0] == "EHLO special.test"


async def test_a_capability_is_offered_only_where_the_upstreams_of_all_domains_carry_it(
    stage: Stage, tmp_path: Path
) -> None:
    able = await stage.upstream()
    plain = await stage.upstream(extensions=("PIPELINING",))
    ringback = await opened(
        stage, tmp_path, f'Domain "other.test" {{ Gateway = "127.0.0.1:{plain.port}" }}', upstream_port=able.port
    )
    async with await ringback.conversation() as client:
        offered = (await client.ehlo()).split("\n")
    assert not {"250-8BITMIME", "250 8BITMIME", "250-SMTPUTF8", "250 SMTPUTF8"} & set(offered)


async def test_an_upstream_without_pipelining_hears_one_command_at_a_time(stage: Stage, tmp_path: Path) -> None:
    class Strict(Exchanger):
        async def _command(self, dialogue, command, inbox):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if command[:4] in {"MAIL", "RCPT"} and len(inbox):
                self.faults.append(f"{command} was pipelined")
            await super()._command(dialogue, command, inbox)

    upstream = await stage.put_up(Strict(extensions=("8BITMIME",)))
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port)
    assert (await sent(ringback, "one@example.com", "two@example.com")).startswith("250 ")
    assert recipients_of(upstream) == ["one@example.com", "two@example.com"]


async def test_a_redirect_to_a_domain_of_another_upstream_goes_there_and_the_first_keeps_nothing(
    stage: Stage, tmp_path: Path
) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    ringback = await opened(
        stage, tmp_path, f'Domain "other.test" {{ Gateway = "127.0.0.1:{second.port}" }}', upstream_port=first.port,
        scripts={"data_phase1": 'redirect "there@other.test";\n'},
    )  # fmt: skip
    assert (await sent(ringback, "one@example.com", "two@example.com")).startswith("250 ")
    assert transactions(second) == [("MAIL FROM:<a@sender.test>", "RCPT TO:<there@other.test>")]
    assert (first.messages, first.count("DATA")) == ([], 0)


async def test_a_copy_for_a_domain_of_another_upstream_cannot_share_the_answer_and_is_451(
    stage: Stage, tmp_path: Path
) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    ringback = await opened(
        stage, tmp_path, f'Domain "other.test" {{ Gateway = "127.0.0.1:{second.port}" }}', upstream_port=first.port,
        scripts={"data_phase1": 'add_recipient "copy@other.test";\n'},
    )  # fmt: skip
    assert await sent(ringback, "one@example.com") == REFUSED_US
    assert (first.messages, second.messages) == ([], [])
    await eventually(
        lambda: "recipients_of_different_upstreams" in [each["event"] for each in ringback.log], "the operator is told"
    )


async def test_a_recipient_given_twice_is_one_recipient_of_the_message(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port)
    assert (await sent(ringback, "one@example.com", "one@example.com", "two@example.com")).startswith("250 ")
    assert set(recipients_of(upstream)) == {"one@example.com", "two@example.com"}
    assert upstream.count("RSET") == 0, "nothing was edited, so nothing is said again"


# ---------------------------------------------------------------- routes and failover


def routes(*hosts: str) -> str:
    return "Routes = ( {} )".format(" ".join(f'"{each}"' for each in hosts))


async def test_the_route_of_lowest_preference_takes_the_mail(stage: Stage, tmp_path: Path) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    ringback = await opened(
        stage,
        tmp_path,
        routes(f"smtp://127.0.0.1:{second.port}?pref=20", f"smtp://127.0.0.1?pref=10&port={first.port}"),
    )
    for _ in range(3):
        assert (await sent(ringback)).startswith("250 ")
    assert (len(first.messages), len(second.messages)) == (3, 0)


@pytest.mark.parametrize(
    "script",
    [None, {Step.BANNER: says("421 4.3.2 busy")}, {Step.BANNER: closes()}, {Step.EHLO: closes()}],
    ids=["nobody listens", "421 banner", "no banner", "closes at EHLO"],
)
async def test_where_the_first_route_takes_no_connection_the_second_takes_the_mail(
    stage: Stage, tmp_path: Path, script: dict[Step, Act] | None
) -> None:
    port = stage.nobody_listens() if script is None else (await stage.upstream(script=script)).port
    second = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, routes(f"smtp://127.0.0.1:{port}?pref=10", f"smtp://127.0.0.1:{second.port}?pref=20")
    )
    assert (await sent(ringback)).startswith("250 ")
    assert (await sent(ringback)).startswith("250 ")
    assert len(second.messages) == 2


@pytest.mark.parametrize("step", [Step.BANNER, Step.EHLO])
async def test_a_first_route_that_falls_silent_does_not_keep_the_mail_from_the_second(
    stage: Stage, tmp_path: Path, step: Step
) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    ringback = await opened(
        stage, tmp_path, "Connect_Timeout = 1", "EHLO_Timeout = 1.5",
        routes(f"smtp://127.0.0.1:{first.port}?pref=10", f"smtp://127.0.0.1:{second.port}?pref=20"),
    )  # fmt: skip
    assert (await sent(ringback)).startswith("250 ")
    first.script[step] = is_silent()
    for each in first.open_dialogues:
        each.close()
    assert (await sent(ringback)).startswith("250 ")
    assert (len(first.messages), len(second.messages)) == (1, 1)


async def test_a_route_that_does_not_answer_costs_the_mail_nothing_where_another_is_its_equal(
    stage: Stage, tmp_path: Path
) -> None:
    """Connect_Timeout is 30 seconds here, longer than this client waits."""
    upstream = await stage.upstream()
    with mute() as port:
        ringback = await opened(
            stage, tmp_path, routes(f"127.0.0.1:{port}", f"127.0.0.1:{upstream.port}"),
            "Max_Deliveries_Per_Connection = 1", "Host_Failure_Retry = 0",
        )  # fmt: skip
        for _ in range(4):
            assert (await sent(ringback)).startswith("250 ")
    assert len(upstream.messages) == 4


async def test_equal_routes_share_the_mail(stage: Stage, tmp_path: Path) -> None:
    first, second = await stage.upstream(), await stage.upstream()
    ringback = await opened(
        stage, tmp_path, routes(f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"),
        "Max_Deliveries_Per_Connection = 1",
    )  # fmt: skip
    for _ in range(30):
        assert (await sent(ringback)).startswith("250 ")
    assert len(first.messages) + len(second.messages) == 30
    assert min(len(first.messages), len(second.messages)) >= 2, "a fair coin fails this once in 17 million runs"


@pytest.mark.parametrize("dead", ["::1", "127.0.0.23"])
async def test_a_gateway_whose_one_family_is_dead_is_reached_by_the_other(
    stage: Stage, tmp_path: Path, exchangers: Dnsmasq, dead: str
) -> None:
    alive = {"::1": "127.0.0.23", "127.0.0.23": "::1"}[dead]
    upstream = await stage.put_up(Exchanger(alive, free_port("127.0.0.23")))
    with mute(dead, upstream.port):
        ringback = await opened(
            stage, tmp_path, f'Gateway = "dual.test:{upstream.port}"', nameserver=exchangers.address
        )
        assert (await sent(ringback)).startswith("250 ")
    assert len(upstream.messages) == 1


async def test_a_route_that_failed_is_passed_over_until_it_has_rested(stage: Stage, tmp_path: Path) -> None:
    first = await stage.upstream(script={Step.BANNER: closes()})
    second = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, "Max_Deliveries_Per_Connection = 1",
        routes(f"smtp://127.0.0.1:{first.port}?pref=10", f"smtp://127.0.0.1:{second.port}?pref=20"),
    )  # fmt: skip
    assert (await sent(ringback)).startswith("250 ")
    tried = len(first.dialogues)
    first.script.clear()
    for _ in range(3):
        assert (await sent(ringback)).startswith("250 ")
    assert (len(first.dialogues), len(second.messages)) == (tried, 4)


async def test_a_route_that_has_rested_is_preferred_again(stage: Stage, tmp_path: Path) -> None:
    first = await stage.upstream(script={Step.BANNER: closes()})
    second = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, "Max_Deliveries_Per_Connection = 1", "Host_Failure_Retry = 0",
        routes(f"smtp://127.0.0.1:{first.port}?pref=10", f"smtp://127.0.0.1:{second.port}?pref=20"),
    )  # fmt: skip
    assert (await sent(ringback)).startswith("250 ")
    first.script.clear()
    for _ in range(2):
        assert (await sent(ringback)).startswith("250 ")
    assert len(first.messages) >= 1


async def test_where_every_route_failed_one_transaction_tries_and_the_others_hear_451_at_once(
    stage: Stage, tmp_path: Path
) -> None:
    gate = asyncio.Event()
    upstream = await stage.upstream(script={Step.BANNER: closes()})
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port)
    async with await greeted(ringback) as first, await greeted(ringback) as second, await greeted(ringback) as third:
        for client in (first, second, third):
            await client.ask("MAIL FROM:<a@sender.test>")
        assert await first.ask("RCPT TO:<b@example.com>") == UNREACHABLE
        upstream.script[Step.BANNER] = says("220 back again", until=gate)
        await first.send("RCPT TO:<b@example.com>")
        await upstream.until(lambda: len(upstream.held) == 1, "one transaction tries")
        for client in (second, third):
            assert await client.ask("RCPT TO:<b@example.com>") == UNREACHABLE
        assert len(upstream.held) == 1
        gate.set()
        assert (await first.reply()).startswith("250 ")
        assert (await second.ask("RCPT TO:<b@example.com>")).startswith("250 ")


async def test_the_upstreams_refusal_of_a_recipient_is_not_taken_to_the_next_route(
    stage: Stage, tmp_path: Path
) -> None:
    first = await stage.upstream(recipients={"b@example.com": says("450 4.2.1 not now")})
    second = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, routes(f"smtp://127.0.0.1:{first.port}?pref=10", f"smtp://127.0.0.1:{second.port}?pref=20")
    )
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == "450 4.2.1 not now"
    assert users(second) == []


# ---------------------------------------------------------------- exchangers by DNS

MX_ZONE = Zone(
    addresses={
        "mx1.site.test": ("127.0.0.21",),
        "mx2.site.test": ("127.0.0.22",),
        "bare.test": ("127.0.0.22",),
        "dual.test": ("127.0.0.23", "::1"),
    },
    exchangers={
        "site.test": ((10, "mx1.site.test"), (20, "mx2.site.test")),
        "half.test": ((10, "mx.gone.test"), (20, "mx2.site.test")),
        "null.test": ((0, "."),),
    },
)


@pytest.fixture(scope="module")
def exchangers() -> Iterator[Dnsmasq]:
    with Dnsmasq(MX_ZONE) as server:
        yield server


@dataclass
class Site:
    """The two exchangers of site.test, on one port."""

    port: int
    first: Exchanger
    second: Exchanger


async def site(stage: Stage) -> Site:
    port = free_port("127.0.0.21", "127.0.0.22")
    first = await stage.put_up(Exchanger("127.0.0.21", port))
    second = await stage.put_up(Exchanger("127.0.0.22", port))
    return Site(port, first, second)


async def test_a_route_by_mx_goes_to_the_exchanger_of_lowest_preference_and_then_to_the_next(
    stage: Stage, tmp_path: Path, exchangers: Dnsmasq
) -> None:
    behind = await site(stage)
    ringback = await opened(
        stage, tmp_path, routes(f"smtp://site.test?type=mx&port={behind.port}"), "Max_Deliveries_Per_Connection = 1",
        nameserver=exchangers.address,
    )  # fmt: skip
    assert (await sent(ringback)).startswith("250 ")
    assert (len(behind.first.messages), len(behind.second.messages)) == (1, 0)
    behind.first.script[Step.BANNER] = closes()
    assert (await sent(ringback)).startswith("250 ")
    assert (len(behind.first.messages), len(behind.second.messages)) == (1, 1)


@pytest.mark.parametrize("name", ["half.test", "bare.test"])
async def test_an_exchanger_without_an_address_is_passed_over_and_no_exchanger_means_the_name_itself(
    stage: Stage, tmp_path: Path, exchangers: Dnsmasq, name: str
) -> None:
    """RFC 5321 section 5.1: the exchangers are tried in order; without any, the name is its own."""
    behind = await site(stage)
    ringback = await opened(
        stage, tmp_path, routes(f"smtp://{name}?type=mx&port={behind.port}"), nameserver=exchangers.address
    )
    assert (await sent(ringback)).startswith("250 ")
    assert len(behind.second.messages) == 1


@pytest.mark.parametrize("name", ["null.test", "gone.test"])
async def test_a_route_by_mx_that_leads_nowhere_is_451_4_4_1(
    stage: Stage, tmp_path: Path, exchangers: Dnsmasq, name: str
) -> None:
    ringback = await opened(stage, tmp_path, routes(f"smtp://{name}?type=mx"), nameserver=exchangers.address)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == UNREACHABLE


# ---------------------------------------------------------------- connections: held, lost, counted


async def test_a_connection_is_given_back_while_the_client_idles_and_the_envelope_is_said_again_at_data(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, "Upstream_Hold = 0.05", upstream_port=upstream.port)
    async with await begun(ringback, "one@example.com", "two@example.com") as client:
        await upstream.until(lambda: upstream.commands[-1:] == ["RSET"], "the connection is given back")
        assert len(upstream.open_dialogues) >= 1
        async with await begun(ringback, "three@example.com"):
            assert (await finished(client)).startswith("250 ")
    assert transactions(upstream) == [
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<one@example.com>", "RCPT TO:<two@example.com>")
    ]
    assert below_received(upstream.messages[0].content) == LETTER


async def test_a_recipient_refused_when_the_envelope_is_said_again_is_451_and_nothing_is_sent(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, "Upstream_Hold = 0.05", upstream_port=upstream.port)
    async with await begun(ringback, "one@example.com", "two@example.com") as client:
        await upstream.until(lambda: upstream.commands[-1:] == ["RSET"], "the connection is given back")
        upstream.recipients["two@example.com"] = says("550 5.1.1 gone since")
        assert await finished(client) == LOST
    assert (upstream.messages, upstream.count("DATA")) == ([], 0)


async def test_a_recipient_added_after_the_connection_was_given_back_joins_the_others(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, "Upstream_Hold = 0.05", upstream_port=upstream.port)
    async with await begun(ringback, "one@example.com") as client:
        await upstream.until(lambda: upstream.commands[-1:] == ["RSET"], "the connection is given back")
        assert (await client.ask("RCPT TO:<two@example.com>")).startswith("250 ")
        assert (await finished(client)).startswith("250 ")
    assert transactions(upstream) == [
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<one@example.com>", "RCPT TO:<two@example.com>")
    ]


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_connection_lost_between_rcpt_and_data_is_replaced_unseen(
    stage: Stage, tmp_path: Path, way: str
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port)
    async with await begun(ringback, "one@example.com", "two@example.com") as client:
        (used,) = users(upstream)
        getattr(used, way)()
        assert (await finished(client)).startswith("250 ")
    assert transactions(upstream) == [
        ("MAIL FROM:<a@sender.test>", "RCPT TO:<one@example.com>", "RCPT TO:<two@example.com>")
    ]


async def test_a_connection_lost_between_two_recipients_is_replaced_unseen(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port)
    async with await begun(ringback, "one@example.com") as client:
        (used,) = users(upstream)
        used.reset()
        assert (await client.ask("RCPT TO:<two@example.com>")).startswith("250 ")
        assert (await finished(client)).startswith("250 ")
    assert recipients_of(upstream) == ["one@example.com", "two@example.com"]


async def test_a_connection_carries_so_many_deliveries_and_then_says_quit(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, "Max_Deliveries_Per_Connection = 2", upstream_port=upstream.port)
    for _ in range(5):
        assert (await sent(ringback)).startswith("250 ")
    await upstream.until(lambda: upstream.count("QUIT") == 2, "two connections have ended")
    carried = [sum(line.startswith("MAIL") for line in each.commands) for each in users(upstream)]
    assert carried == [2, 2, 1]
    assert [each.commands[-1] for each in users(upstream)[:2]] == ["QUIT", "QUIT"]


async def test_a_transaction_that_waits_for_a_connection_gets_the_one_that_comes_free(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, "Max_Outbound_Connections = 1", upstream_port=upstream.port)
    async with await begun(ringback, "one@example.com") as first, await greeted(ringback) as second:
        replies = await second.pipeline("MAIL FROM:<second@sender.test>", "NOOP")
        assert [each[:4] for each in replies] == ["250 ", "250 "]
        await second.send("RCPT TO:<two@example.com>")
        assert (await finished(first)).startswith("250 ")
        assert (await second.reply()).startswith("250 ")
        assert (await finished(second)).startswith("250 ")
    assert recipients_of(upstream) == ["one@example.com", "two@example.com"]
    assert len(upstream.dialogues) == 1


async def test_an_edit_that_opens_the_transaction_anew_needs_no_second_connection(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream()
    ringback = await opened(
        stage, tmp_path, "Max_Outbound_Connections = 1", upstream_port=upstream.port,
        scripts={"data_phase1": 'add_recipient "copy@example.com";\n'},
    )  # fmt: skip
    assert (await sent(ringback)).startswith("250 ")
    assert recipients_of(upstream) == ["b@example.com", "copy@example.com"]


async def test_a_connection_on_which_the_upstream_refused_is_not_used_again(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.upstream(recipients={"no@example.com": says("550 5.1.1 no")})
    ringback = await opened(stage, tmp_path, upstream_port=upstream.port)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<no@example.com>") == "550 5.1.1 no"
        await client.quit()
    assert (await sent(ringback)).startswith("250 ")
    refused, other = users(upstream)
    assert sum(line.startswith("MAIL") for line in refused.commands) == 1
    assert recipients_of(upstream) == ["b@example.com"]
    await upstream.until(lambda: refused.commands[-1] == "QUIT", "it ends politely")
    assert other.commands.count("DATA") == 1


# ---------------------------------------------------------------- TLS


class Secured(Exchanger):
    """An upstream that offers STARTTLS with a certificate; `broken` offers it and then speaks no TLS."""

    def __init__(self, context: ssl.SSLContext | None, *, broken: bool = False, **parts: object) -> None:
        super().__init__(extensions=(*EXTENSIONS, "STARTTLS"), **parts)  # type: ignore[arg-type]
        self._context, self._broken = context, broken
        self.secured: set[int] = set()

    async def _command(self, dialogue: Dialogue, command: str, inbox) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        if command != "STARTTLS":
            await super()._command(dialogue, command, inbox)
            return
        dialogue.commands.append(command)
        if self._context is None:
            dialogue.writer.write(b"454 4.7.0 TLS not available\r\n")
            return
        dialogue.writer.write(b"220 2.0.0 go\r\n")
        await dialogue.writer.drain()
        if self._broken:
            dialogue.writer.write(b"no TLS here\r\n" * 10)
            await dialogue.writer.drain()
            dialogue.close()
            return
        await dialogue.writer.start_tls(self._context)
        self.secured.add(id(dialogue))

    def carried_in_tls(self) -> list[bool]:
        """Tell of each connection that carried a transaction whether it was encrypted."""
        return [id(each) in self.secured for each in users(self)]


@dataclass(frozen=True)
class Authority:
    """An authority in a file, and server contexts with certificates that it issued."""

    path: Path
    right: ssl.SSLContext
    wrong: ssl.SSLContext


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    issuer = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    issuer.cert_pem.write_to_path(path)
    contexts = []
    for name in ("127.0.0.1", "elsewhere.test"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert(name).configure_cert(context)
        contexts.append(context)
    return Authority(path, *contexts)


@pytest.mark.parametrize("mode", ["ifavailable", "required"])
@pytest.mark.parametrize("verify", ["no", "ca", "host"])
async def test_mail_goes_encrypted_to_an_upstream_whose_certificate_is_right(
    stage: Stage, tmp_path: Path, authority: Authority, mode: str, verify: str
) -> None:
    upstream = await stage.put_up(Secured(authority.right))
    ringback = await opened(
        stage, tmp_path, f"TLS = {mode}", f"TLS_Verify = {verify}", f'TLS_CA = "{authority.path}"',
        upstream_port=upstream.port,
    )  # fmt: skip
    assert (await sent(ringback)).startswith("250 ")
    assert upstream.carried_in_tls() == [True]
    (used,) = users(upstream)
    assert used.commands[:3] == ["EHLO ringback.test", "STARTTLS", "EHLO ringback.test"]


@pytest.mark.parametrize(("verify", "taken"), [("no", True), ("ca", True), ("host", False)], ids=["no", "ca", "host"])
async def test_a_certificate_in_another_name_is_refused_where_the_host_is_verified(
    stage: Stage,
    tmp_path: Path,
    authority: Authority,
    verify: str,
    taken: bool,  # noqa: FBT001
) -> None:
    upstream = await stage.put_up(Secured(authority.wrong))
    ringback = await opened(
        stage, tmp_path, "TLS = required", f"TLS_Verify = {verify}", f'TLS_CA = "{authority.path}"',
        upstream_port=upstream.port,
    )  # fmt: skip
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        reply = await client.ask("RCPT TO:<b@example.com>")
    assert reply == ("250 2.1.5 Ok" if taken else REFUSED_US)
    assert bool(users(upstream)) is taken


async def test_a_certificate_of_an_unknown_authority_is_refused_where_it_is_verified(
    stage: Stage, tmp_path: Path, authority: Authority
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    upstream = await stage.put_up(Secured(context))
    ringback = await opened(
        stage, tmp_path, "TLS = required", "TLS_Verify = ca", f'TLS_CA = "{authority.path}"',
        upstream_port=upstream.port,
    )  # fmt: skip
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == REFUSED_US
    assert users(upstream) == []


@pytest.mark.parametrize("fault", ["wrong certificate", "no TLS"])
@pytest.mark.parametrize(
    ("fallback", "expected"), [("true", "250 2.1.5 Ok"), ("false", REFUSED_US)], ids=["fallback", "no fallback"]
)
async def test_where_the_handshake_fails_mail_goes_in_the_clear_only_if_that_is_allowed(
    stage: Stage, tmp_path: Path, authority: Authority, fault: str, fallback: str, expected: str
) -> None:
    upstream = await stage.put_up(Secured(authority.wrong, broken=fault == "no TLS"))
    ringback = await opened(
        stage, tmp_path, "TLS = ifavailable", "TLS_Verify = host", f'TLS_CA = "{authority.path}"',
        f"TLS_Ifavailable_Fallback = {fallback}", upstream_port=upstream.port,
    )  # fmt: skip
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == expected
    assert upstream.carried_in_tls() == ([False] if fallback == "true" else [])


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "not offered"])
async def test_an_upstream_without_tls_is_refused_where_tls_is_required(
    stage: Stage,
    tmp_path: Path,
    refuses: bool,  # noqa: FBT001
) -> None:
    upstream = await (stage.put_up(Secured(None)) if refuses else stage.upstream())
    ringback = await opened(stage, tmp_path, "TLS = required", upstream_port=upstream.port)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == REFUSED_US
    assert users(upstream) == []


async def test_an_upstream_that_stopped_offering_tls_gets_mail_in_the_clear_if_tls_is_not_required(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, "TLS = ifavailable", upstream_port=upstream.port)
    assert (await sent(ringback)).startswith("250 ")
    assert upstream.count("STARTTLS") == 0


# ---------------------------------------------------------------- XCLIENT


@pytest.fixture(scope="module")
def trusting() -> Iterator[Postfix]:
    """A Postfix that takes XCLIENT from us."""
    with Postfix(options={"smtpd_authorized_xclient_hosts": "127.0.0.0/8"}) as server:
        yield server


@pytest.mark.real("postfix")
async def test_postfix_hears_by_xclient_who_the_client_is(stage: Stage, tmp_path: Path, trusting: Postfix) -> None:
    ringback = await opened(stage, tmp_path, "XCLIENT = required", upstream_port=trusting.port)
    for source, name in (("127.0.0.77", "one.test"), ("127.0.0.78", "two.test")):
        async with await greeted(ringback, source=source, name=name) as client:
            for number in (1, 2):
                message = b"Subject: xclient %b %d\r\n\r\nbody\r\n" % (source.encode(), number)
                for command in ("MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.com>"):
                    assert (await client.ask(command)).startswith("250 "), command
                assert (await client.ask("DATA")).startswith("354 ")
                assert (await client.content(message)).startswith("250 ")
    texts = await eventually(
        lambda: len(found := trusting.delivered(b"Subject: xclient")) >= 4 and found, "Postfix delivers"
    )
    assert texts
    for text in texts:
        told = re.search(rb"Received: from (\S+) \(unknown \[(\S+)\]\)\r\n\tby upstream\.test \(Postfix\)", text)
        mark = re.search(rb"Subject: xclient (\S+) \d", text)
        assert told is not None
        assert mark is not None
        assert told[2] == mark[1]
        assert told[1] == {b"127.0.0.77": b"one.test", b"127.0.0.78": b"two.test"}[mark[1]], "the client's own name"
    assert re.search(r"client=unknown\[127\.0\.0\.77\]", trusting.log)
    assert re.search(r"client=unknown\[127\.0\.0\.78\]", trusting.log)


@pytest.mark.real("postfix")
async def test_postfix_hears_the_right_client_of_every_message_where_sessions_share_connections(
    stage: Stage, tmp_path: Path, trusting: Postfix
) -> None:
    """Without the port, by turns, with RSET, with another EHLO in the middle, and on connections made ahead."""
    ringback = await opened(stage, tmp_path, "XCLIENT = required", "XCLIENT_Port = false", upstream_port=trusting.port)
    before = len(re.findall(r"smtpd\[\d+\]: connect from", trusting.log))
    expected = set()
    for turn in range(4):
        for source in ("127.0.0.71", "127.0.0.72", "127.0.0.73"):
            async with await greeted(ringback, source=source, name="one.test") as client:
                for name in ("one.test", "two.test"):
                    if name == "two.test":
                        await client.ehlo(name)
                    mark = f"{source}-{name}-{turn}"
                    expected.add(mark)
                    await client.ask("MAIL FROM:<other@sender.test>")
                    assert (await client.ask("RCPT TO:<b@example.com>")).startswith("250 ")
                    await client.ask("RSET")
                    for command in ("MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.com>"):
                        assert (await client.ask(command)).startswith("250 "), command
                    assert (await client.ask("DATA")).startswith("354 ")
                    assert (await client.content(b"Subject: shared %b\r\n\r\nbody\r\n" % mark.encode())).startswith(
                        "250 "
                    )
    texts = await eventually(
        lambda: len(found := trusting.delivered(b"Subject: shared")) >= len(expected) and found, "Postfix delivers"
    )
    heard = set()
    for text in texts:
        told = re.search(rb"Received: from (\S+) \(unknown \[(\S+)\]\)\r\n\tby upstream\.test \(Postfix\)", text)
        mark_in_text = re.search(rb"Subject: shared (\S+)-(\d)\r\n", text)
        assert told is not None
        assert mark_in_text is not None
        assert told[2] + b"-" + told[1] == mark_in_text[1]
        heard.add((mark_in_text[1] + b"-" + mark_in_text[2]).decode())
    assert heard == expected
    made = len(re.findall(r"smtpd\[\d+\]: connect from", trusting.log)) - before
    assert made <= 1 + 6 + 8, "one before any client, one for each identity, and some ahead: not one for each session"


@pytest.mark.real("postfix")
@pytest.mark.parametrize("name", ["two words", "[127.0.0.1", "under_score", "x" * 200, "a=b+c"])
async def test_a_client_with_an_odd_name_is_still_introduced_to_postfix(
    stage: Stage, tmp_path: Path, trusting: Postfix, name: str
) -> None:
    """What the client calls itself is its own affair: it must not keep its mail from the upstream."""
    ringback = await opened(stage, tmp_path, "XCLIENT = required", upstream_port=trusting.port)
    async with await greeted(ringback, source="127.0.0.79", name=name) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == "250 2.1.5 Ok"


class Informed(Exchanger):
    """An upstream that takes XCLIENT; a second one on a connection it refuses, as Postfix does."""

    def __init__(self, **parts: object) -> None:
        super().__init__(extensions=(*EXTENSIONS, "XCLIENT NAME ADDR PORT PROTO HELO"), **parts)  # type: ignore[arg-type]

    async def _command(self, dialogue: Dialogue, command: str, inbox) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        if not command.startswith("XCLIENT"):
            await super()._command(dialogue, command, inbox)
            return
        again = any(each.startswith("XCLIENT") for each in dialogue.commands)
        dialogue.commands.append(command)
        dialogue.writer.write(b"503 5.5.1 once\r\n" if again else b"220 exchanger.test ESMTP\r\n")
        await self._note()


async def test_a_connection_that_speaks_for_one_client_serves_its_session_only(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.put_up(Informed())
    ringback = await opened(stage, tmp_path, "XCLIENT = ifavailable", upstream_port=upstream.port)
    async with await ringback.conversation(source="127.0.0.77") as first:
        for _ in range(2):
            assert (await first.deliver("a@sender.test", ["b@example.com"], LETTER)).startswith("250 ")
        async with await ringback.conversation(source="127.0.0.78") as second:
            assert (await second.deliver("a@sender.test", ["b@example.com"], LETTER)).startswith("250 ")
        port = first.local_port
    await upstream.until(lambda: all(each.ended for each in users(upstream)), "their connections end with the sessions")
    one, two = users(upstream)
    assert [each for each in one.commands if each.startswith("XCLIENT")] == [
        f"XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.77 PORT={port} PROTO=ESMTP HELO=client.test"
    ]
    assert [line[:4] for line in one.commands] == ["EHLO", "XCLI", "EHLO", *("MAIL", "RCPT", "DATA") * 2, "QUIT"]
    assert [line[:4] for line in two.commands] == ["EHLO", "XCLI", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert "ADDR=127.0.0.78 " in two.commands[1]


async def test_an_upstream_with_one_place_serves_one_client_after_another_by_xclient(
    stage: Stage, tmp_path: Path
) -> None:
    upstream = await stage.put_up(Informed())
    ringback = await opened(
        stage, tmp_path, "XCLIENT = required", "Max_Outbound_Connections = 1", upstream_port=upstream.port
    )
    async with await ringback.conversation(source="127.0.0.77") as first:
        assert (await first.deliver("a@sender.test", ["b@example.com"], LETTER)).startswith("250 ")
        async with await ringback.conversation(source="127.0.0.78") as second:
            assert (await second.deliver("a@sender.test", ["b@example.com"], LETTER)).startswith("250 ")
        assert (await first.deliver("a@sender.test", ["b@example.com"], LETTER)).startswith("250 ")
    addresses = [re.search(r"ADDR=(\S+)", line) for line in upstream.commands if line.startswith("XCLIENT")]
    assert [found and found[1] for found in addresses] == ["127.0.0.77", "127.0.0.78", "127.0.0.77"]


@pytest.mark.parametrize(
    ("mode", "expected"), [("ifavailable", "250 2.1.5 Ok"), ("required", REFUSED_US)], ids=["ifavailable", "required"]
)
async def test_an_upstream_that_does_not_offer_xclient_is_used_unless_it_is_required(
    stage: Stage, tmp_path: Path, mode: str, expected: str
) -> None:
    upstream = await stage.upstream()
    ringback = await opened(stage, tmp_path, f"XCLIENT = {mode}", upstream_port=upstream.port)
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == expected
    assert upstream.count("XCLIENT") == 0


# ---------------------------------------------------------------- LMTP


class Lmtp(Exchanger):
    """An LMTP server (RFC 2033): LHLO, and one reply to the dot for each recipient."""

    def act_at(self, step: Step, command: str) -> Act:
        if step is Step.OTHER and command.startswith("LHLO "):
            return says("250-lmtp.test", "250-PIPELINING", "250 8BITMIME")
        if step in {Step.EHLO, Step.HELO}:
            return says("500 5.5.1 this is LMTP")
        if step is Step.DOT:
            to = users(self)[-1].recipients
            replies = [b"250 2.1.5 %b kept\r\n" % each.encode()[8:] for each in to[:1]]
            replies += [b"452 4.2.2 %b full\r\n" % each.encode()[8:] for each in to[1:]]
            return sends(b"".join(replies))
        return FRIENDLY.get(step, says("250 2.0.0 Ok")) if step is not Step.RCPT else super().act_at(step, command)


async def test_lmtp_is_spoken_with_lhlo_and_one_recipient_a_transaction(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.put_up(Lmtp())
    ringback = await opened(
        stage, tmp_path, "Delivery_Method = LMTP", f"LMTP_Port = {upstream.port}", 'Gateway = "127.0.0.1"'
    )
    async with await begun(ringback, "one@example.com") as client:
        assert (await client.ask("RCPT TO:<two@example.com>")).startswith("452 4.5.3 ")
        assert await finished(client) == "250 2.1.5 <one@example.com> kept"
        assert (
            await client.deliver("a@sender.test", ["two@example.com"], LETTER)
        ) == "250 2.1.5 <two@example.com> kept"
    assert {each.commands[0] for each in upstream.dialogues} == {"LHLO ringback.test"}
    assert [message.recipients for message in upstream.messages] == [
        ("RCPT TO:<one@example.com>",), ("RCPT TO:<two@example.com>",)
    ]  # fmt: skip
    assert all(below_received(each.content) == LETTER for each in upstream.messages)


async def test_a_recipient_that_a_script_adds_over_lmtp_is_never_lost_behind_one_reply(
    stage: Stage, tmp_path: Path
) -> None:
    """LMTP answers the dot for each recipient; the client's one 250 must not cover a recipient that was refused."""
    upstream = await stage.put_up(Lmtp())
    ringback = await opened(
        stage, tmp_path, "Delivery_Method = LMTP", f"LMTP_Port = {upstream.port}", 'Gateway = "127.0.0.1"',
        scripts={"data_phase1": 'add_recipient "copy@example.com";\n'},
    )  # fmt: skip
    reply = await sent(ringback, "one@example.com")
    assert reply.startswith("4"), (reply, transactions(upstream))
