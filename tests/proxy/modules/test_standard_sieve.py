"""Standard Sieve in a `sieve` stanza: which scripts are in it, and what only a whole transaction shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from tests.support.exchanger import Exchanger, Step, says
from tests.support.worker import ACCEPTED, ALICE, BOB, Configuration, client_of

STANDARD = 'require "reject";\nif header :contains "subject" "HELLO" { reject "not you"; }\n'
PLUS_PLUS = 'if header :contains "subject" "hello" { ec_action 550 "not you"; }\n'
REFUSED = "550 not you"
DUPLICATES = 'require ["duplicate", "reject"];\nif duplicate { reject "seen"; }\n'


def letter(*fields: str) -> bytes:
    return "".join(f"{each}\r\n" for each in ("Subject: hello", *fields)).encode() + b"\r\nhello\r\n"


async def sent(house: Configuration, *letters: bytes) -> list[str]:
    """Return the replies to the dots of letters from one client."""
    answers = []
    async with client_of(house) as client:
        for each in letters:
            await client.ask(f"MAIL FROM:<{ALICE}>")
            await client.ask(f"RCPT TO:<{BOB}>")
            await client.ask("DATA")
            answers.append(await client.content(each))
    return answers


def stanza(house: Configuration, file: str, text: str, *options: str) -> Configuration:
    (house.folder / file).write_text(text)
    house.lines += ["sieve {", f'  data_phase1 = "{file}"', *(f"  {each}" for each in options), "}"]
    return house


@pytest.mark.parametrize(
    ("file", "text", "options"),
    [
        ("a.siv", STANDARD, ["dialect = rfc5228"]),
        ("a.siv", STANDARD, ["data_phase1_dialect = rfc5228"]),
        ("a.sieve", STANDARD, ["dialect = auto"]),
        ("a.siv", PLUS_PLUS, ["dialect = auto"]),
        ("a.sieve", PLUS_PLUS, []),
        ("a.sieve", PLUS_PLUS, ["dialect = rfc5228", 'data_phase1_dialect = "sieve++"']),
    ],
)
async def test_a_script_has_the_dialect_of_its_option_its_stanza_or_its_name(
    tmp_path: Path, file: str, text: str, options: list[str]
) -> None:
    async with Exchanger() as upstream:
        house = stanza(Configuration(tmp_path, upstream.port), file, text, *options)
        assert await sent(house, letter()) == [REFUSED]


async def test_both_dialects_serve_in_one_phase(tmp_path: Path) -> None:
    house = stanza(Configuration(tmp_path, 1), "a.sieve", STANDARD, "dialect = auto", 'data_phase2 = "b.siv"')
    (tmp_path / "b.siv").write_text('ec_header_add "X-B" "b";\n')
    assert not [each for each in load(house.write())[1] if each.is_error]


@pytest.mark.parametrize(("dialect", "text"), [("rfc5228", PLUS_PLUS), ("sieve++", "set :lower 'a' 1;")])
def test_a_script_in_the_other_dialect_is_a_load_error(tmp_path: Path, dialect: str, text: str) -> None:
    with pytest.raises(ConfigurationRejected):
        load(stanza(Configuration(tmp_path, 1), "a.siv", text, f"dialect = {dialect}").write())


@pytest.mark.parametrize("name", ["X Folder", "X-Folder:", "Ordner-ü"])
def test_a_field_name_that_is_none_is_a_load_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        load(stanza(Configuration(tmp_path, 1), "a.siv", PLUS_PLUS, f'fileinto_header = "{name}"').write())
    (mistake,) = (each for each in rejected.value.diagnostics if each.is_error)
    assert mistake.message == f"`{name}` is no name of a header field"


async def test_fileinto_becomes_a_field_and_a_stranger_cannot_write_it(tmp_path: Path) -> None:
    script = 'require "fileinto";\nif header :contains "subject" "hello" { fileinto "Lists/Büro"; }\n'
    async with Exchanger() as upstream:
        options = ("dialect = rfc5228", 'fileinto_header = "X-Sieve-Fileinto"')
        house = stanza(Configuration(tmp_path, upstream.port), "a.siv", script, *options)
        assert await sent(house, letter("X-Sieve-Fileinto: Boss")) == [ACCEPTED]
        relayed = upstream.messages[0].content
    assert relayed.count(b"X-Sieve-Fileinto") == 1
    assert b"X-Sieve-Fileinto: =?UTF-8?B?TGlzdHMvQsO8cm8=?=\r\n" in relayed


async def test_an_id_is_known_once_the_next_hop_has_answered_250(tmp_path: Path) -> None:
    async with Exchanger() as upstream:
        house = stanza(
            Configuration(tmp_path, upstream.port), "a.siv", DUPLICATES, "dialect = rfc5228", "store = memory"
        )
        answers = await sent(house, letter("Message-ID: <1>"), letter("Message-ID: <2>"), letter("Message-ID: <1>"))
    assert answers[::2] == [ACCEPTED, "550 seen"]
    assert answers[1].startswith("250")


async def test_a_transaction_that_the_next_hop_refuses_leaves_no_id(tmp_path: Path) -> None:
    async with Exchanger(script={Step.DOT: says("451 4.3.0 later")}) as upstream:
        house = stanza(
            Configuration(tmp_path, upstream.port), "a.siv", DUPLICATES, "dialect = rfc5228", "store = memory"
        )
        answers = await sent(house, letter("Message-ID: <1>"), letter("Message-ID: <1>"))
    assert [each[:3] for each in answers] == ["451", "451"]


async def test_ids_outlive_the_server_in_its_state_directory(tmp_path: Path) -> None:
    async with Exchanger() as upstream:
        house = stanza(Configuration(tmp_path, upstream.port), "a.siv", DUPLICATES, "dialect = rfc5228")
        house.lines.append(f'State_Directory = "{tmp_path}"')
        first = await sent(house, letter("Message-ID: <1>"))
        second = await sent(house, letter("Message-ID: <1>"))
    assert (first, second) == ([ACCEPTED], ["550 seen"])


async def test_a_message_without_an_empty_line_has_no_body(tmp_path: Path) -> None:
    script = 'require ["body", "reject"];\nif body :raw :contains "" { reject "a body"; }\n'
    async with Exchanger() as upstream:
        house = stanza(Configuration(tmp_path, upstream.port), "a.siv", script, "dialect = rfc5228")
        answers = await sent(house, b"Subject: x\r\n", b"Subject: x\r\n\r\n")
    assert answers == [ACCEPTED, "550 a body"]


async def test_a_script_that_both_languages_include_is_read_in_each(tmp_path: Path) -> None:
    (tmp_path / "both.siv").write_text("keep;\n")
    house = Configuration(tmp_path, 1)
    async with Exchanger() as upstream:
        house.upstream = upstream.port
        stanza(
            house,
            "a.siv",
            'require "include";\ninclude "both";\n',
            "data_phase1_dialect = rfc5228",
            'data_phase2 = "b.siv"',
        )
        (tmp_path / "b.siv").write_text(f'ec_include "{tmp_path}/both.siv";\n')
        assert await sent(house, letter(), letter()) == [ACCEPTED, ACCEPTED[:-1] + "2"]


@pytest.mark.parametrize(("life", "second"), [(60, "550 first"), (0, "550 second")])
async def test_an_included_script_is_read_again_after_cache_life(tmp_path: Path, life: int, second: str) -> None:
    included = tmp_path / "text.siv"
    included.write_text('ec_action 550 "first";\n')
    script = f'ec_include "{included}";\n'
    async with Exchanger() as upstream:
        house = stanza(
            Configuration(tmp_path, upstream.port), "a.siv", script, f"cache_life = {life}", "cache_size = 1"
        )
        async with client_of(house) as client:
            answers = []
            for _ in range(2):
                await client.ask(f"MAIL FROM:<{ALICE}>")
                await client.ask(f"RCPT TO:<{BOB}>")
                await client.ask("DATA")
                answers.append(await client.content(letter()))
                included.write_text('ec_action 550 "second";\n')
    assert answers == ["550 first", second]


async def test_an_included_script_has_the_suffix_of_the_script_that_includes_it(tmp_path: Path) -> None:
    (tmp_path / "spam.sieve").write_text('require "reject";\nreject "spam";\n')
    async with Exchanger() as upstream:
        house = Configuration(tmp_path, upstream.port)
        stanza(house, "main.sieve", 'require "include";\ninclude :global "spam";\n', "dialect = auto")
        assert await sent(house, letter()) == ["550 spam"]


async def test_a_field_that_a_script_adds_is_gone_if_the_script_fails_and_the_mail_passes(tmp_path: Path) -> None:
    script = 'require ["editheader", "ihave"];\naddheader "X-Seen" "yes";\ndeleteheader "Subject";\nerror "no";\n'
    async with Exchanger() as upstream:
        house = stanza(
            Configuration(tmp_path, upstream.port), "a.siv", script, "dialect = rfc5228", "on_error = accept"
        )
        assert await sent(house, letter()) == [ACCEPTED]
        content = upstream.messages[0].content
    assert b"Subject: hello" in content
    assert b"X-Seen" not in content


@pytest.mark.parametrize(
    ("actions", "fields"),
    [
        ('if true { redirect "carol@example.com"; } addheader "X-Late" "1";', []),
        ('addheader "X-Early" "1"; if true { redirect "carol@example.com"; } deleteheader "X-Early";', [b"X-Early"]),
        ('addheader "X-Early" "1"; if true { keep; } addheader "X-Late" "1";', [b"X-Early"]),
        ('if true { redirect :copy "carol@example.com"; } addheader "X-Late" "1";', [b"X-Late"]),
    ],
)
async def test_the_message_is_relayed_as_it_stood_when_it_was_delivered(
    tmp_path: Path, actions: str, fields: list[bytes]
) -> None:
    """ "All other actions that store, send, or alter the message MUST do so with the current set" (RFC 5293, 7)."""
    async with Exchanger() as upstream:
        script = f'require ["editheader", "copy"];\n{actions}\n'
        house = stanza(Configuration(tmp_path, upstream.port), "a.siv", script, "dialect = rfc5228")
        assert await sent(house, letter()) == [ACCEPTED]
        head = upstream.messages[0].content.partition(b"\r\n\r\n")[0]
    assert [name for name in (b"X-Early", b"X-Late") if name in head] == fields
