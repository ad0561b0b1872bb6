"""The servers and the client that the system tests use do what they say."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest

from tests.support.conversation import Conversation, stuffed, unstuffed
from tests.support.exchanger import Exchanger, Step, breaks_off, closes, resets, says, sends
from tests.support.opensmtpd import OpenSmtpd
from tests.support.programs import UNPACKED, MissingProgramError, find_program
from tests.support.required import REQUIRE_REAL, need
from tests.support.servers import REFUSED_RECIPIENT, REFUSED_REPLY, Dnsmasq, Postfix
from tests.support.waiting import eventually
from tests.support.world import AWKWARD_MESSAGE


async def test_the_exchanger_takes_a_message_byte_for_byte() -> None:
    async with Exchanger() as exchanger, await Conversation.open("127.0.0.1", exchanger.port) as client:
        assert await client.deliver("a@ok.test", ["b@example.com"], AWKWARD_MESSAGE) == "250 2.0.0 Ok: queued as 000001"
        assert await client.quit() == "221 2.0.0 Bye"
    (message,) = exchanger.messages
    assert (message.sender, message.recipients) == ("MAIL FROM:<a@ok.test>", ("RCPT TO:<b@example.com>",))
    assert message.content == AWKWARD_MESSAGE
    assert message.wire == stuffed(AWKWARD_MESSAGE)
    assert exchanger.commands == ["EHLO client.test", message.sender, *message.recipients, "DATA", "QUIT"]
    assert exchanger.faults == []


async def test_the_exchanger_answers_pipelined_commands_each_by_its_own_act() -> None:
    async with (
        Exchanger(recipients={"no@example.com": says("550-5.1.1 first", "550 5.1.1 second")}) as exchanger,
        await Conversation.open("127.0.0.1", exchanger.port) as client,
    ):
        await client.ehlo()
        replies = await client.pipeline("MAIL FROM:<>", "RCPT TO:<no@example.com>", "RCPT TO:<yes@example.com>")
    assert replies == ["250 2.1.0 Ok", "550-5.1.1 first\n550 5.1.1 second", "250 2.1.5 Ok"]


async def test_an_act_waits_for_its_event_and_the_dialogue_is_seen_waiting() -> None:
    gate = asyncio.Event()
    async with (
        Exchanger(script={Step.MAIL: says("250 late", until=gate)}) as exchanger,
        await Conversation.open("127.0.0.1", exchanger.port) as client,
    ):
        await client.ehlo()
        await client.send("MAIL FROM:<a@ok.test>")
        await exchanger.until(lambda: len(exchanger.held) == 1, "the session waits")
        assert exchanger.held[0].held_at is Step.MAIL
        gate.set()
        assert await client.reply() == "250 late"
        assert exchanger.held == []


@pytest.mark.parametrize("act", [closes(), resets()], ids=["closes", "resets"])
async def test_an_act_ends_the_connection_in_place_of_a_reply(act: object) -> None:
    async with (
        Exchanger(script={Step.DOT: act}) as exchanger,  # type: ignore[dict-item]
        await Conversation.open("127.0.0.1", exchanger.port) as client,
    ):
        await client.envelope("a@ok.test", ["b@example.com"])
        with pytest.raises(ConnectionError):
            await client.content(b"Subject: lost\r\n\r\nlost\r\n")
    assert exchanger.messages == []


async def test_a_content_act_comes_in_the_middle_of_the_message() -> None:
    async with (
        Exchanger(script={Step.CONTENT: closes()}, content_limit=1000) as exchanger,
        await Conversation.open("127.0.0.1", exchanger.port) as client,
    ):
        await client.envelope("a@ok.test", ["b@example.com"])
        await client.send_raw(b"x" * 998 + b"\r\n")
        assert await client.rest() == b""
        assert exchanger.dialogues[0].content_size == 1000
        assert exchanger.messages == []


async def test_a_content_act_comes_though_the_whole_message_came_at_once() -> None:
    async with (
        Exchanger(script={Step.CONTENT: closes()}, content_limit=1) as exchanger,
        await Conversation.open("127.0.0.1", exchanger.port) as client,
    ):
        await client.envelope("a@ok.test", ["b@example.com"])
        await client.send_raw(b"Subject: x\r\n\r\n.\r\n")
        assert await client.rest() == b""
    assert exchanger.messages == []


async def test_an_act_on_one_connection_leaves_the_others_alone() -> None:
    async with Exchanger() as exchanger:
        clients = [await Conversation.open("127.0.0.1", exchanger.port) for _ in range(2)]
        exchanger.dialogues[0].script[Step.EHLO] = breaks_off(b"250-half")
        await clients[0].send("EHLO one.test")
        assert await clients[0].rest() == b"250-half"
        await clients[1].ehlo()
        for client in clients:
            await client.close()


async def test_a_message_that_ends_inside_two_blocks_is_found_and_what_follows_is_a_command() -> None:
    async with Exchanger() as exchanger, await Conversation.open("127.0.0.1", exchanger.port) as client:
        await client.envelope("a@ok.test", ["b@example.com"])
        for piece in (b"S: x\r\n\r\nx\r", b"\n", b".", b"\r", b"\nNOOP\r\n"):
            await client.send_raw(piece)
            await asyncio.sleep(0)
        assert await client.reply() == "250 2.0.0 Ok: queued as 000001"
        assert await client.reply() == "250 2.0.0 Ok"
    assert [each.content for each in exchanger.messages] == [b"S: x\r\n\r\nx\r\n"]


async def test_garbage_is_sent_as_it_is() -> None:
    async with (
        Exchanger(script={Step.BANNER: sends(b"\x00\xff\r\n")}) as exchanger,
        await Conversation.connect("127.0.0.1", exchanger.port) as client,
    ):
        assert await client.reply() == "\x00\\xff"


def test_a_missing_server_skips_its_tests_by_name_unless_every_server_is_demanded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(REQUIRE_REAL, raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"^no-such-server is not installed$"):
        need("no-such-server")
    monkeypatch.setenv(REQUIRE_REAL, "1")
    with pytest.raises(pytest.fail.Exception, match=r"^no-such-server is not installed, and RINGBACK_REQUIRE_REAL=1"):
        need("no-such-server")


def test_a_missing_perl_module_is_told_like_a_missing_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE_REAL, "1")
    need("File::Spec")
    with pytest.raises(pytest.fail.Exception, match=r"^No::Such is not installed, and RINGBACK_REQUIRE_REAL=1"):
        need("No::Such")


def test_an_unpacked_server_is_looked_for_in_its_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for name, variable in UNPACKED.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
        with pytest.raises(MissingProgramError, match=f"^{name} is not in the folder that {variable} names$"):
            find_program(name)
        program = tmp_path / name / "usr/sbin" / name
        program.parent.mkdir(parents=True)
        program.touch(0o755)
        assert find_program(name) == str(program)


def test_stuffing_and_unstuffing_are_inverse() -> None:
    message = b".\r\n..\r\n.a\r\na.\r\n\r\n.\r\n"
    assert stuffed(message) == b"..\r\n...\r\n..a\r\na.\r\n\r\n..\r\n"
    assert unstuffed(stuffed(message)) == message


@pytest.mark.real("postfix")
async def test_postfix_takes_mail_for_its_domain_and_delivers_it_byte_for_byte(postfix: Postfix) -> None:
    message = AWKWARD_MESSAGE.replace(b"AWKWARD", b"self-check-1")
    async with await Conversation.open("127.0.0.1", postfix.port) as client:
        answer = await client.deliver("a@ok.test", ["b@example.com"], message)
        assert answer.startswith("250 2.0.0 Ok: queued as "), answer
    (text,) = await eventually(lambda: postfix.delivered(b"self-check-1"), "Postfix delivers")
    assert text.endswith(message)
    assert answer.split()[-1] in postfix.log


@pytest.mark.real("postfix")
async def test_postfix_refuses_one_address_and_every_other_domain_but_not_postmaster(postfix: Postfix) -> None:
    async with await Conversation.open("127.0.0.1", postfix.port) as client:
        await client.ehlo()
        assert await client.ask("MAIL FROM:<a@ok.test>") == "250 2.1.0 Ok"
        assert await client.ask(f"RCPT TO:<{REFUSED_RECIPIENT}>") == REFUSED_REPLY
        assert (await client.ask("RCPT TO:<a@elsewhere.test>")).startswith("554 5.7.1 ")
        assert await client.ask("RCPT TO:<postmaster>") == "250 2.1.5 Ok"


@pytest.mark.real("smtpd")
async def test_opensmtpd_takes_mail_for_its_recipients_and_refuses_every_other() -> None:
    with OpenSmtpd(["bob@ok.test", "anna@ok.test"], address="127.0.0.11") as server:
        async with await Conversation.open("127.0.0.11", server.port) as client:
            answer = await client.deliver("", ["bob@ok.test"], AWKWARD_MESSAGE)
            assert answer.startswith("250 2.0.0 "), answer
            assert await client.ask("MAIL FROM:<>") == "250 2.0.0 Ok"
            assert await client.ask("RCPT TO:<anna@ok.test>") == "250 2.1.5 Destination address valid: Recipient ok"
            assert (await client.ask("RCPT TO:<nobody@ok.test>")).startswith("550 ")
            assert (await client.ask("RCPT TO:<bob@elsewhere.test>")).startswith("550 ")
        (text,) = await eventually(server.delivered, f"OpenSMTPD delivers: {server.log}")
    assert text.endswith(AWKWARD_MESSAGE)


@pytest.mark.real("dnsmasq")
def test_dnsmasq_answers_from_its_zone_and_from_nowhere_else(nameserver: Dnsmasq) -> None:
    assert _ask(nameserver, "refusing.test", 15) == (0, 1)
    assert _ask(nameserver, "mx.refusing.test", 1) == (0, 1)
    assert _ask(nameserver, "mx.refusing.test", 28) == (0, 0)
    assert _ask(nameserver, "nowhere.test", 15) == (3, 0)
    assert _ask(nameserver, "python.org", 1) == (3, 0)


def _ask(nameserver: Dnsmasq, name: str, record: int) -> tuple[int, int]:
    """Return the response code and the number of answers to one question."""
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    question = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\x00" + struct.pack("!2H", record, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(question, ("127.0.0.1", nameserver.port))
        answer = client.recv(512)
    return answer[3] & 0x0F, struct.unpack("!H", answer[6:8])[0]
