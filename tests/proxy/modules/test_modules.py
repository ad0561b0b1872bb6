"""The modules at work in a session: scripts in their phases, and callback verification, passive and active."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from tests.support.exchanger import Act, Exchanger, Step, is_silent, says
from tests.support.worker import ACCEPTED, ALICE, BOB, CAROL, SENDER_OK, Configuration, client_of, transaction

INTERNAL = "451 4.3.0 Temporary failure, try again later"

CUSTOMERS = """\
$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
"""


# ---------------------------------------------------------------- the customer's script


@pytest.mark.parametrize(
    ("act", "first"),
    [
        (says("250 ok"), SENDER_OK),
        (says("550 5.1.1 no such user"), "550 from address not reachable"),
        (says("451 later"), SENDER_OK),
        (says("550 5.7.1 blocked"), SENDER_OK),
    ],
)
async def test_the_customers_script_refuses_only_a_sender_that_does_not_exist(
    tmp_path: Path, act: Act, first: str
) -> None:
    async with Exchanger() as upstream, Exchanger(script={Step.RCPT: act}) as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback().scripts(mailfrom_phase1=CUSTOMERS)
        async with client_of(house) as client:
            answers = await transaction(client)
            assert answers[0] == first
            assert answers[-1] == (ACCEPTED if first == SENDER_OK else first)
            assert exchanger.count("RCPT") == 1


async def test_a_bounce_is_not_probed(tmp_path: Path) -> None:
    async with Exchanger() as upstream, Exchanger() as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback().scripts(mailfrom_phase1=CUSTOMERS)
        async with client_of(house) as client:
            assert (await transaction(client, sender=""))[-1] == ACCEPTED
            assert exchanger.dialogues == []


async def test_a_script_that_verifies_without_the_module_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        load(Configuration(tmp_path, 1).scripts(mailfrom_phase1=CUSTOMERS).write())
    (mistake,) = (each for each in rejected.value.diagnostics if each.is_error)
    assert "smtp_callback_verify" in mistake.message
    assert "smtp_cbv" in mistake.message


async def test_a_function_in_a_phase_that_cannot_give_what_it_needs_is_a_load_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        load(Configuration(tmp_path, 1).scripts(mailfrom_phase1='ec_header_add "X-A" "b";\n').write())
    assert any("ec_header_add" in each.message for each in rejected.value.diagnostics)


async def test_a_script_that_is_not_there_is_told_at_the_option_that_names_it(tmp_path: Path) -> None:
    house = Configuration(tmp_path, 1)
    house.lines = ["sieve {", '  mailfrom_phase1 = "nowhere.siv"', "}"]
    with pytest.raises(ConfigurationRejected) as rejected:
        load(house.write())
    (mistake,) = rejected.value.diagnostics
    assert mistake.message == "cannot read the script: No such file or directory"
    assert mistake.span.line == 7


# ---------------------------------------------------------------- the active module


@pytest.mark.parametrize(
    ("act", "result", "status"),
    [
        (says("250 ok"), "pass", "pass"),
        (says("550 5.1.1 no such user"), "error", "fail"),
        (says("451 later"), "transient", "transient"),
        (says("550 5.7.1 blocked"), "transient", "error"),
    ],
)
async def test_an_active_smtp_cbv_sets_smtp_cbv_result(tmp_path: Path, act: Act, result: str, status: str) -> None:
    script = '$r = vctx_mess_get "smtp_cbv_result";\n$s = vctx_mess_get "smtp_cbv_status";\nec_log "${r} ${s}";\n'
    async with Exchanger() as upstream, Exchanger(script={Step.RCPT: act}) as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback(kind="").scripts(mailfrom_phase1=script)
        async with client_of(house) as client:
            with capture_logs() as log:
                assert await transaction(client) == [SENDER_OK, "250 2.1.5 Ok", ACCEPTED]
        assert [each["text"] for each in log if each["event"] == "script"] == [f"{result} {status}"]
        assert exchanger.count("RCPT") == 1


@pytest.mark.parametrize("reply", ["250 ok", "550 5.1.1 no", "451 later", "550 5.7.1 blocked"])
async def test_an_active_smtp_cbv_alone_never_rejects(tmp_path: Path, reply: str) -> None:
    async with (
        Exchanger() as upstream,
        Exchanger(script={Step.RCPT: says(reply)}) as exchanger,
        client_of(Configuration(tmp_path, upstream.port, exchanger.port).callback(kind="")) as client,
    ):
        assert await transaction(client) == [SENDER_OK, "250 2.1.5 Ok", ACCEPTED]
        assert exchanger.count("RCPT") == 1


async def test_an_active_smtp_cbv_in_rcptto_asks_about_each_recipient(tmp_path: Path) -> None:
    async with Exchanger() as upstream, Exchanger() as exchanger:
        house = Configuration(tmp_path, upstream.port, exchanger.port)
        house.callback('phase = "rcptto"', 'map = [ example.com = "127.0.0.1" ]', kind="")
        house.lines.remove('  map = [ sender.test = "127.0.0.1" ]')
        async with client_of(house) as client:
            assert (await transaction(client, BOB, CAROL))[-1] == ACCEPTED
        asked = sorted(each for each in exchanger.commands if each.startswith("RCPT"))
        assert asked == [f"RCPT TO:<{BOB}>", f"RCPT TO:<{CAROL}>"]


async def test_trouble_in_the_active_module_never_touches_the_mail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("proxy.callback.verifier.CallbackVerifier.verify", fail)
    async with Exchanger() as upstream, client_of(Configuration(tmp_path, upstream.port).callback(kind="")) as client:
        assert (await transaction(client))[-1] == ACCEPTED


# ---------------------------------------------------------------- phases, and their two scripts


@pytest.mark.parametrize(
    ("first", "second", "reply"),
    [
        ('ec_action 550 "one";\n', 'ec_action 551 "two";\n', "550 one"),
        ("stop;\n", 'ec_action 551 "two";\n', "551 two"),
        ('$x = "y";\n', 'ec_action 551 "two";\n', "551 two"),
        ("keep;\n", 'ec_action 551 "two";\n', SENDER_OK),
        ('ec_action 250 "fine";\n', 'ec_action 551 "two";\n', SENDER_OK),
        ('$x = "y";\n', '$x = "y";\n', SENDER_OK),
    ],
)
async def test_the_vendors_script_runs_where_the_sites_ended_no_phase(
    tmp_path: Path, first: str, second: str, reply: str
) -> None:
    async with Exchanger() as upstream:
        house = Configuration(tmp_path, upstream.port).scripts(mailfrom_phase1=first, mailfrom_phase2=second)
        async with client_of(house) as client:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == reply


@pytest.mark.parametrize(
    ("phase", "answers"),
    [
        ("mailfrom_phase1", ["550 no"]),
        ("rcptto_phase1", [SENDER_OK, "550 no"]),
        ("each_rcpt_phase1", [SENDER_OK, "550 no"]),
        ("data_phase1", [SENDER_OK, "250 2.1.5 Ok", "550 no"]),
        ("spool_phase1", [SENDER_OK, "250 2.1.5 Ok", "550 no"]),
        ("set_binding_phase2", [SENDER_OK, "250 2.1.5 Ok", "550 no"]),
    ],
)
async def test_a_script_answers_in_its_phase(tmp_path: Path, phase: str, answers: list[str]) -> None:
    async with Exchanger() as upstream:
        house = Configuration(tmp_path, upstream.port).scripts(**{phase: 'ec_action 550 "no";\n'})
        async with client_of(house) as client:
            assert await transaction(client) == answers
        assert upstream.messages == []


@pytest.mark.parametrize("phase", ["accept_phase1", "connect_phase1"])
async def test_a_script_at_the_door_speaks_the_banner(tmp_path: Path, phase: str) -> None:
    house = Configuration(tmp_path, 1).scripts(**{phase: 'ec_action 554 "not you";\n'})
    async with client_of(house) as client:
        assert client.banner == "554 not you"
        assert await client.rest() == b""


async def test_a_multi_line_refusal_has_the_code_on_each_line(tmp_path: Path) -> None:
    house = Configuration(tmp_path, 1).scripts(mailfrom_phase1='ec_action 450 "one\ntwo";\n')
    async with client_of(house) as client:
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == "450-one\n450 two"


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("ec_disconnect;\n", "421 4.7.1 Deferred by policy"),
        ('ec_disconnect 421 "bye";\n', "421 bye"),
        ('ec_disconnect 550 "bye";\n', "550 bye"),
    ],
)
async def test_a_script_that_disconnects_closes_after_its_reply(tmp_path: Path, script: str, reply: str) -> None:
    async with client_of(Configuration(tmp_path, 1).scripts(mailfrom_phase1=script)) as client:
        assert await client.ask(f"MAIL FROM:<{ALICE}>") == reply
        assert await client.rest() == b""


@pytest.mark.parametrize("phase", ["rcptto_phase1", "data_phase1", "spool_phase1", "each_rcpt_phase1"])
async def test_discarded_mail_is_accepted_and_never_relayed(tmp_path: Path, phase: str) -> None:
    async with Exchanger() as upstream:
        async with client_of(Configuration(tmp_path, upstream.port).scripts(**{phase: "discard;\n"})) as client:
            assert (await transaction(client))[-1] == "250 2.0.0 Message accepted"
        assert upstream.messages == []


async def test_the_context_of_a_message_ends_with_it_and_that_of_the_connection_does_not(tmp_path: Path) -> None:
    script = (
        '$m = vctx_mess_get "seen";\n$c = vctx_conn_get "seen";\nec_log "[${m}][${c}]";\n'
        'vctx_mess_set "seen" "m";\nvctx_conn_set "seen" "c";\n'
    )
    async with Exchanger() as upstream:
        async with client_of(Configuration(tmp_path, upstream.port).scripts(mailfrom_phase1=script)) as client:
            with capture_logs() as log:
                await transaction(client)
                await client.ask(f"MAIL FROM:<{ALICE}>")
        assert [each["text"] for each in log if each["event"] == "script"] == ["[][]", "[][c]"]


async def test_a_script_reads_the_header_section_in_the_data_phase(tmp_path: Path) -> None:
    script = 'if header :is "subject" "hello" { ec_action 550 "no hello"; }\n'
    async with (
        Exchanger() as upstream,
        client_of(Configuration(tmp_path, upstream.port).scripts(data_phase1=script)) as client,
    ):
        assert (await transaction(client))[-1] == "550 no hello"


# ---------------------------------------------------------------- trouble


async def test_a_script_that_fails_is_451_with_nothing_of_it_on_the_wire_and_its_place_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("secret /path")

    monkeypatch.setattr("proxy.modules.sieve_policy.host.SessionHost.log", fail)
    async with client_of(Configuration(tmp_path, 1).scripts(mailfrom_phase1='$x = "y";\nec_log "hello";\n')) as client:
        with capture_logs() as log:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == INTERNAL
    (line,) = (each for each in log if each["event"] == "script_failed")
    assert (Path(line["script"]).name, line["line"], line["log_level"]) == ("mailfrom_phase1.siv", 2, "error")
    assert "secret" in line["reason"]


@pytest.mark.parametrize(("on_error", "reply"), [("defer", INTERNAL), ("accept", SENDER_OK)])
async def test_a_validator_that_breaks_down_defers_or_accepts_as_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_error: str, reply: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("secret /path")

    house = Configuration(tmp_path, 1).scripts(f'on_error = "{on_error}"', mailfrom_phase1='$x = "y";\n')
    async with client_of(house) as client:
        monkeypatch.setattr("sieve.run.runtime.Script.start", fail)
        with capture_logs() as log:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == reply
    (line,) = (each for each in log if each["event"] == "validator_failed")
    assert (line["phase"], line["reason"], str(line["exc_info"])) == ("mailfrom", "failed", "secret /path")


@pytest.mark.parametrize(("on_error", "reply"), [("defer", INTERNAL), ("accept", SENDER_OK)])
async def test_a_script_that_passes_its_deadline_defers_or_accepts_as_it_is_told(
    tmp_path: Path, on_error: str, reply: str
) -> None:
    async with Exchanger(script={Step.RCPT: is_silent()}) as exchanger, Exchanger() as upstream:
        house = Configuration(tmp_path, upstream.port, exchanger.port).callback()
        house.scripts(f'on_error = "{on_error}"', "script_timeout = 0.1", mailfrom_phase1=CUSTOMERS)
        async with client_of(house) as client:
            assert await client.ask(f"MAIL FROM:<{ALICE}>") == reply
