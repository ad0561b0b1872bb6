"""Mail for a next hop that listens on a Unix socket, as Dovecot does for LMTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exchanger import FRIENDLY, Act, Exchanger, Step, closes, says
from tests.support.house import below_received, greeted, opened, transactions
from tests.support.ringback import Ringback
from tests.support.waiting import eventually
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq")

LETTER = b"Subject: by socket\r\n\r\nbody\r\n"
UNREACHABLE = "451 4.4.1 Next-hop server is unreachable, try again later"


class Lmtp(Exchanger):
    """An LMTP server (RFC 2033) that takes one recipient a transaction."""

    def act_at(self, step: Step, command: str) -> Act:
        if command.startswith("LHLO "):
            return says("250-lmtp.test", "250-PIPELINING", "250 8BITMIME")
        if step in {Step.EHLO, Step.HELO}:
            return says("500 5.5.1 this is LMTP")
        if step is Step.DOT:
            return says("250 2.0.0 <b@example.com> saved")
        return self.script.get(step) or FRIENDLY.get(step, says("250 2.0.0 Ok"))


async def sent(ringback: Ringback) -> str:
    async with await ringback.conversation() as client:
        return await client.deliver("a@sender.test", ["b@example.com"], LETTER)


async def test_a_message_goes_by_lmtp_over_a_unix_socket_and_the_log_names_it(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.put_up(Lmtp(str(tmp_path / "lmtp")))
    ringback = await opened(stage, tmp_path, "Delivery_Method = LMTP", f'Gateway = "unix:{tmp_path}/lmtp"')
    for _ in range(2):
        assert await sent(ringback) == "250 2.0.0 <b@example.com> saved"
    assert transactions(upstream) == [("MAIL FROM:<a@sender.test>", "RCPT TO:<b@example.com>")] * 2
    assert all(below_received(each.content) == LETTER for each in upstream.messages)
    assert len(upstream.dialogues) == 1, "the connection is kept and shared"
    logged = await eventually(
        lambda: [each["upstream"] for each in ringback.log if each["event"] == "message"][1:], "both are logged"
    )
    assert logged == [f"unix:{tmp_path}/lmtp"]


async def test_one_domain_may_have_a_unix_socket_while_the_others_go_by_smtp(stage: Stage, tmp_path: Path) -> None:
    here, elsewhere = await stage.put_up(Lmtp(str(tmp_path / "lmtp"))), await stage.upstream()
    ringback = await opened(
        stage, tmp_path,
        f'Domain "example.com" {{ Gateway = "unix:{tmp_path}/lmtp"\n Delivery_Method = LMTP }}',
        upstream_port=elsewhere.port,
    )  # fmt: skip
    assert await sent(ringback) == "250 2.0.0 <b@example.com> saved"
    async with await ringback.conversation() as client:
        assert (await client.deliver("a@sender.test", ["c@other.test"], LETTER)).startswith("250 ")
    assert (len(here.messages), len(elsewhere.messages)) == (1, 1)


async def test_a_socket_that_is_not_there_defers_the_mail_and_is_used_as_soon_as_it_is(
    stage: Stage, tmp_path: Path
) -> None:
    ringback = await opened(stage, tmp_path, "Delivery_Method = LMTP", f'Gateway = "unix:{tmp_path}/lmtp"')
    assert "lmtp cannot be used (No such file or directory)" in ringback.program.printed()
    async with await greeted(ringback) as client:
        await client.ask("MAIL FROM:<a@sender.test>")
        assert await client.ask("RCPT TO:<b@example.com>") == UNREACHABLE
        upstream = await stage.put_up(Lmtp(str(tmp_path / "lmtp")))
        assert (await client.ask("RCPT TO:<b@example.com>")).startswith("250 ")
    assert upstream.count("LHLO") == 1


async def test_a_socket_stands_in_for_another_route(stage: Stage, tmp_path: Path) -> None:
    upstream = await stage.put_up(Exchanger(str(tmp_path / "smtp")))
    down = await stage.upstream(script={Step.BANNER: closes()})
    ringback = await opened(
        stage, tmp_path, f'Routes = ( "smtp://127.0.0.1:{down.port}?pref=10" "unix:{tmp_path}/smtp?pref=20" )'
    )
    assert (await sent(ringback)).startswith("250 ")
    assert len(upstream.messages) == 1
