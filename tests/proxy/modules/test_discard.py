"""What `discard` throws away, seen from the next hop, and which actions beside it keep the mail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.app import load
from tests.proxy.outbox.test_outbox_scripts import ACCEPTED, client_of
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, CAROL, LETTER

Z = "z@example.com"
DISCARDED = "250 2.0.0 Message accepted"


@pytest.fixture
async def upstream() -> AsyncIterator[Exchanger]:
    """The next hop."""
    async with Exchanger() as server:
        yield server


KEEPING = {
    "discard-redirect": ('discard; redirect "z@example.com";', Z),
    "redirect-discard": ('redirect "z@example.com"; discard;', Z),
    "ec_discard-ec_redirect": ('ec_discard "a"; ec_redirect "z@example.com" "b";', Z),
    "discard-keep": ("discard; keep;", BOB),
    "keep-discard": ("keep; discard;", BOB),
    "ec_keep-ec_discard": ('ec_keep "a"; ec_discard "b";', BOB),
    "discard-keep-stop": ("discard; keep; stop;", BOB),
}
REFUSING = {
    "discard-reject": ('discard; reject "5.7.1 no";', "550 5.7.1 no"),
    "ec_reject-discard": ('ec_reject "5.7.1 no"; discard;', "550 5.7.1 no"),
    "discard-ec_action": ('discard; ec_action 451 "4.7.1 later";', "451 4.7.1 later"),
}


async def sent(client: Conversation, *recipients: str) -> str:
    await client.ehlo()
    return await client.deliver(ALICE, recipients or (BOB,), LETTER)


@pytest.mark.parametrize("phase", ["rcptto", "data", "spool", "each_rcpt"])
@pytest.mark.parametrize("case", KEEPING)
async def test_what_keeps_the_mail_wins_over_discard_in_its_group(
    tmp_path: Path, upstream: Exchanger, phase: str, case: str
) -> None:
    script, recipient = KEEPING[case]
    async with client_of(tmp_path, upstream, **{f"{phase}_phase1": script}) as client:
        assert await sent(client) == ACCEPTED
    (message,) = upstream.messages
    assert message.recipients == (f"RCPT TO:<{recipient}>",)


@pytest.mark.parametrize("phase", ["data", "spool"])
@pytest.mark.parametrize("case", REFUSING)
async def test_a_refusal_wins_over_discard_in_its_group(
    tmp_path: Path, upstream: Exchanger, phase: str, case: str
) -> None:
    script, reply = REFUSING[case]
    async with client_of(tmp_path, upstream, **{f"{phase}_phase1": script}) as client:
        assert await sent(client) == reply
    assert upstream.messages == []


@pytest.mark.parametrize("phase", ["rcptto", "data", "spool", "each_rcpt"])
async def test_discard_alone_discards(tmp_path: Path, upstream: Exchanger, phase: str) -> None:
    async with client_of(tmp_path, upstream, **{f"{phase}_phase1": "discard;"}) as client:
        assert await sent(client) == DISCARDED
    assert upstream.messages == []


async def test_at_rcpt_each_recipient_is_judged_for_itself(tmp_path: Path, upstream: Exchanger) -> None:
    script = f'if envelope :is "to" "{BOB}" {{ discard; }} else {{ discard; redirect "{Z}"; }}'
    async with client_of(tmp_path, upstream, rcptto_phase1=script) as client:
        assert await sent(client, BOB, CAROL) == ACCEPTED
    (message,) = upstream.messages
    assert message.recipients == (f"RCPT TO:<{Z}>",)


@pytest.mark.parametrize("phase", ["rcptto", "data", "spool"])
async def test_a_copy_that_the_discarding_phase_adds_still_goes_out(
    tmp_path: Path, upstream: Exchanger, phase: str
) -> None:
    script = f'add_recipient "{Z}"; discard;'
    async with client_of(tmp_path, upstream, **{f"{phase}_phase1": script}) as client:
        assert await sent(client) == ACCEPTED
    (message,) = upstream.messages
    assert message.recipients == (f"RCPT TO:<{Z}>",)


@pytest.mark.parametrize("later", ["keep;", f'redirect "{Z}";'], ids=["keep", "redirect"])
async def test_no_later_phase_brings_back_what_one_discarded(tmp_path: Path, upstream: Exchanger, later: str) -> None:
    script = f'add_recipient "{CAROL}";'
    async with client_of(
        tmp_path, upstream, rcptto_phase1=script, data_phase1="discard;", spool_phase1=later
    ) as client:
        assert await sent(client) == DISCARDED
    assert upstream.messages == []


@pytest.mark.parametrize("earlier", ["keep;", f'redirect "{Z}";'], ids=["keep", "redirect"])
async def test_a_later_phase_may_discard_what_an_earlier_one_kept(
    tmp_path: Path, upstream: Exchanger, earlier: str
) -> None:
    async with client_of(tmp_path, upstream, data_phase1=earlier, spool_phase1="discard;") as client:
        assert await sent(client) == DISCARDED
    assert upstream.messages == []


# ---------------------------------------------------------------- what is told at load


def warned(folder: Path, **scripts: str) -> list[str]:
    """Return the warnings of a configuration with these scripts."""
    lines = ["ESMTP_Listener = ( 127.0.0.1:0 )", 'Hostname = "a.test"', 'Gateway = "127.0.0.1"', "sieve {"]
    for name, text in scripts.items():
        (folder / f"{name}.siv").write_text(text)
        lines.append(f'  {name} = "{name}.siv"')
    (folder / "r.conf").write_text("\n".join([*lines, "}"]) + "\n")
    return [each.message for each in load(folder / "r.conf")[1]]


@pytest.mark.parametrize(
    ("script", "action"),
    [
        (f'discard; $a = "{Z}"; redirect "${{a}}";', "redirect"),
        ('discard; if header "x" "y" { keep; }', "keep"),
        (f'if header "x" "y" {{ discard; }} else {{ reject; }} ec_log "a"; add_recipient "{Z}";', "add_recipient"),
        ("if false { ec_keep; }", "ec_keep"),
        ('discard; ec_log "a"; reject "no";', "reject"),
    ],
    ids=["redirect", "keep", "add_recipient", "ec_keep", "reject"],
)
def test_an_action_that_keeps_mail_and_never_runs_is_a_warning(tmp_path: Path, script: str, action: str) -> None:
    assert any(each.startswith(f"{action} never runs: ") for each in warned(tmp_path, data_phase1=script))


@pytest.mark.parametrize(
    ("first", "warns"),
    [("discard;", True), ('if header "x" "y" { discard; } else { keep; }', True), ("stop;", False), ("", False)],
    ids=["discard", "every-branch", "stop", "nothing"],
)
def test_a_second_script_behind_one_that_always_ends_the_phase_is_warned_of(
    tmp_path: Path, first: str, *, warns: bool
) -> None:
    told = warned(tmp_path, data_phase1=first, data_phase2=f'if header "x" "y" {{ redirect "{Z}"; }}')
    message = "redirect never runs: the script of data_phase1 always ends the phase"
    assert (message in told) is warns


@pytest.mark.parametrize("octets", [1_000, 65_000, 65_536, 70_000, 300_000])
async def test_a_discarded_message_of_any_size_is_refused_for_a_bare_line_feed_at_its_end(
    tmp_path: Path, upstream: Exchanger, octets: int
) -> None:
    letter = LETTER + (b"x" * 70 + b"\r\n") * (octets // 72) + b"bare\nline feed\r\n"
    async with client_of(tmp_path, upstream, data_phase1="discard;") as client:
        await client.ehlo()
        assert (await client.deliver(ALICE, (BOB,), letter)).startswith("550 5.5.2 Bare <CR> or <LF> received")
    assert not upstream.messages
