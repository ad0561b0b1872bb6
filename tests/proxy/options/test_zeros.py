"""What 0 means for each number of the configuration: it is declared, it is on the page, and mail passes with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from config.diagnostics import Severity, Source, Span
from config.findings import Findings
from config.language.nodes import Word
from config.schema.declared import Declared, declared
from config.schema.readers import ReadContext, Unreadable
from config.scopes.listener import SOCKET_OPTIONS
from config.scopes.listeners import SOCKET_ZEROS
from proxy.app import MODULES, load, load_service
from proxy.base.rejected import ConfigurationRejected
from proxy.options.core import CoreOptions
from proxy.options.outbound import OutboundOptions
from proxy.smtp.connection import ClientIdle
from proxy.smtp.pace import GRACE_SECONDS, Pace
from proxy.upstream.patience import patient
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.house import NO_CALLBACK_SERVER
from tests.support.worker import ALICE, BOB, LETTER, settled

WHERE = Span(Source("test", "0"), 0, 1)


def takes_a_number(one: Declared) -> bool:
    """Tell whether an option reads 0 as a number, whatever its type is called."""
    try:
        value = one.reader.read(Word("0", WHERE), ReadContext(one.name, Findings()))
    except Unreadable:
        return False
    counts = isinstance(getattr(value, "count", None), int)  # a throttle; a text's `count` is a method
    return (isinstance(value, int | float) and not isinstance(value, bool)) or counts


NUMBERS = [
    (stanza, one)
    for stanza, model in [("", CoreOptions), *((each.spec.type, each.spec.options) for each in MODULES)]
    for one in declared(model).values()
    if takes_a_number(one)
]
IDS = [f"{stanza}.{one.name}" if stanza else one.name for stanza, one in NUMBERS]
LOADS = [(stanza, one.name) for stanza, one in NUMBERS if one.zero != "refused"]
REFUSED = [(stanza, one.name) for stanza, one in NUMBERS if one.zero == "refused"]
CHOSEN = [(stanza, one.name) for stanza, one in NUMBERS if one.zero == "automatic" and one.unit == "seconds"]


def name_of(case: tuple[str, str]) -> str:
    return ".".join(filter(None, case))


@pytest.mark.parametrize(("stanza", "one"), NUMBERS, ids=IDS)
def test_every_number_declares_what_0_means(stanza: str, one: Declared) -> None:
    assert one.zero is not None, (
        f"{stanza} {one.name} is a number and does not say what 0 means. Add one of these to its "
        'option(...): zero="no limit", zero="off", zero="automatic" (say in doc what is chosen) or zero="refused"'
    )


def test_every_number_of_a_listeners_socket_says_what_0_means() -> None:
    assert SOCKET_ZEROS.keys() == {name for name, default in SOCKET_OPTIONS.items() if not isinstance(default, bool)}


def test_what_is_no_number_declares_nothing() -> None:
    models = [CoreOptions, *(each.spec.options for each in MODULES)]
    others = {each.name for model in models for each in declared(model).values() if not takes_a_number(each)}
    said = {each.name for model in models for each in declared(model).values() if each.zero is not None}
    assert not said & others


NEEDED = {
    "sieve": ' mailfrom_phase1 = "m.siv"',
    "python": ' handler = "aiosmtpd.handlers:Sink"',
    "greylist": " shadow = true",
}
"""What a module's stanza needs, or mail does not pass at once."""


def written(folder: Path, port: int, case: tuple[str, str], value: object = 0, **options: object) -> Path:
    """Write a configuration with one option at 0; every module is there."""
    stanza, name = case
    options = {"Session_Time": 100, **options} if name == "idle_time" else options
    lines = [
        "ESMTP_Listener = ( 127.0.0.1:0 )",
        'Hostname = "ringback.test"',
        "Relay_Domains = ( example.com )",
        'Gateway = "127.0.0.1"',
        f"Remote_SMTP_Port = {port}",
        f'State_Directory = "{folder}"',
        f"Nameservers = ( {NO_CALLBACK_SERVER} )",
        *(f"{each} = {of}" for each, of in options.items()),
        *([f"{name} = {value}"] if not stanza else []),
    ]
    (folder / "m.siv").write_text("keep;\n")
    for module in (each.spec.type for each in MODULES):
        own = f" {name} = {value}" if module == stanza else ""
        needed = NEEDED.get(module, "")
        quick = " pause_time = 10ms" if module == "conntrol" and not own else ""
        lines.append(f'{module} "{module}1" {{{own}{needed}{quick} }}')
    (folder / "r.conf").write_text("\n".join(lines) + "\n")
    return folder / "r.conf"


@pytest.mark.parametrize("case", REFUSED, ids=name_of)
def test_a_0_that_means_nothing_is_a_mistake(tmp_path: Path, case: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        load(written(tmp_path, 25, case))
    (found,) = [each for each in rejected.value.diagnostics if each.is_error]
    assert found.message.startswith(f"`{case[1]}` must be ")
    assert found.message.endswith("; this is 0")


@pytest.mark.parametrize("case", LOADS, ids=name_of)
async def test_mail_passes_with_any_other_0(tmp_path: Path, case: tuple[str, str]) -> None:
    async with Exchanger(extensions=["PIPELINING"]) as upstream:
        path = written(tmp_path, upstream.port, case)
        if case[1] == "workers":
            assert load(path)[0].core.processes >= 1
            return
        worker = load_service(path)
        await worker.start()
        try:
            await settled(*worker.pools._pools.values())
            for number in (1, 2):
                client = await Conversation.connect(*worker.addresses[0])
                assert (await client.reply()).startswith("220 ")
                await client.ehlo()
                assert await client.deliver(ALICE, [BOB], LETTER) == f"250 2.0.0 Ok: queued as {number:06X}"
                await client.quit()
                client.abort()
        finally:
            await worker.stop(now=True)
        assert len(upstream.messages) == 2


@pytest.mark.parametrize("case", CHOSEN, ids=name_of)
def test_a_time_of_0_that_we_choose_is_a_warning(tmp_path: Path, case: tuple[str, str]) -> None:
    _, warnings = load(written(tmp_path, 25, case))
    (found,) = [each for each in warnings if each.message.startswith(f"`{case[1]}` is 0, so Ringback chooses. ")]
    assert found.severity is Severity.WARNING


def test_the_outbound_times_are_among_them() -> None:
    names = {"connect", "ehlo", "mailfrom", "rcptto", "body", "rset"}
    assert {name for _, name in CHOSEN} >= {f"{each}_timeout" for each in names}


# ---------------------------------------------------------------- timeouts for the next hop


STEPS = ("connect_timeout", "ehlo_timeout", "mailfrom_timeout", "rcptto_timeout")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (30, 30, 60, 60)),
        ({"connect_timeout": 0}, (120, 30, 60, 60)),
        ({"mailfrom_timeout": 0, "rcptto_timeout": 0}, (30, 30, 105, 105)),
        (dict.fromkeys(STEPS, 0), (67.5, 67.5, 67.5, 67.5)),
        ({"connect_timeout": 300, "ehlo_timeout": 0}, (300, 10, 60, 60)),
    ],
    ids=["none", "connect", "mail-and-rcpt", "all", "nothing-left"],
)
def test_times_of_0_up_to_rcpt_share_what_the_others_leave_of_270_s(
    options: dict[str, float], expected: tuple[float, ...]
) -> None:
    found = patient(OutboundOptions(**options))
    assert tuple(getattr(found, each) for each in STEPS) == expected


def test_the_answer_to_the_dot_has_540_s_and_the_one_to_rset_270() -> None:
    found = patient(OutboundOptions(body_timeout=0, rset_timeout=0))
    assert (found.body_timeout, found.rset_timeout) == (540, 270)


def test_without_a_data_timeout_the_next_hop_still_has_a_deadline() -> None:
    assert CoreOptions.model_construct(data_timeout=0.0).relaying_timeout == 540


# ---------------------------------------------------------------- sessions and messages that nothing would end


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ("Idle_Time = 0\nSession_Time = 0", ("Idle_Time", "Session_Time")),
        ("Data_Timeout = 0\nMin_Data_Rate = 0\nSession_Time = 0", ("Data_Timeout", "Min_Data_Rate", "Session_Time")),
    ],
    ids=["session", "message"],
)
@pytest.mark.parametrize("inner", [False, True], ids=["global", "listener"])
def test_what_nothing_would_end_is_refused(tmp_path: Path, lines: str, names: tuple[str, ...], *, inner: bool) -> None:
    path = tmp_path / "r.conf"
    listener = f'ESMTP_Listener {{\n Listen "127.0.0.1:2525" {{\n{lines}\n}}\n}}' if inner else lines
    others = "" if inner else "ESMTP_Listener = ( 127.0.0.1:2525 )\n"
    path.write_text(f'Hostname = "a.test"\nGateway = "127.0.0.1"\n{others}{listener}\n')
    with pytest.raises(ConfigurationRejected) as rejected:
        load(path)
    (found,) = [each for each in rejected.value.diagnostics if each.is_error]
    assert all(each in found.message for each in names)
    assert found.span is not None


@pytest.mark.parametrize(
    "lines",
    ["Idle_Time = 0", "Session_Time = 0", "Data_Timeout = 0\nMin_Data_Rate = 0", "Data_Timeout = 0\nSession_Time = 0"],
    ids=["idle", "session", "message", "data-timeout"],
)
def test_what_something_else_ends_is_taken(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "r.conf"
    path.write_text(f'Hostname = "a.test"\nGateway = "127.0.0.1"\nESMTP_Listener = ( 127.0.0.1:2525 )\n{lines}\n')
    assert load(path)[0].core.endless == ""


async def test_with_an_idle_time_of_0_the_session_time_ends_a_silent_session(tmp_path: Path) -> None:
    async with Exchanger() as upstream:
        worker = load_service(written(tmp_path, upstream.port, ("", "idle_time"), Session_Time="300ms"))
        await worker.start()
        try:
            client = await Conversation.connect(*worker.addresses[0])
            assert (await client.reply()).startswith("220 ")
            assert (await client.reply()).startswith("421 4.4.2 ")
            client.abort()
        finally:
            await worker.stop(now=True)


async def test_without_timeout_and_rate_the_session_time_ends_a_message(tmp_path: Path) -> None:
    options = {"Min_Data_Rate": 0, "Session_Time": "1s"}
    async with Exchanger() as upstream:
        worker = load_service(written(tmp_path, upstream.port, ("", "data_timeout"), **options))
        await worker.start()
        try:
            client = await Conversation.connect(*worker.addresses[0])
            assert (await client.reply()).startswith("220 ")
            await client.ehlo()
            await client.envelope(ALICE, [BOB])
            await client.send_raw(b"Subject: x\r\n")
            assert (await client.reply()).startswith("421 4.4.2 ")
            client.abort()
        finally:
            await worker.stop(now=True)
        assert upstream.messages == []


class Silent:
    """As much of a stream as a pace uses: nothing comes, and the deadlines are kept."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.deadlines: list[float] = []

    async def more(self, deadline: float) -> None:
        self.deadlines.append(deadline)


async def test_without_a_timeout_a_silent_client_ends_when_it_is_too_slow() -> None:
    stream = Silent()
    now = asyncio.get_running_loop().time()
    await Pace(stream, 0, 100, 7200.0).more()  # type: ignore[arg-type]  # as much of a stream as it uses
    assert now + GRACE_SECONDS <= stream.deadlines[0] <= now + GRACE_SECONDS + 60


async def test_octets_without_a_pause_do_not_outlast_the_session_time() -> None:
    with pytest.raises(ClientIdle):
        await Pace(Silent(), 0, 0, 0.0).more()  # type: ignore[arg-type]  # as much of a stream as it uses
