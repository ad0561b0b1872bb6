"""python: hooks of commands without a phase, with aiosmtpd's signatures and our rules."""

from __future__ import annotations

import asyncio
import base64
import gc
import smtplib
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from proxy.app import load_service
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.handlers import handler, loading, with_handler
from tests.support.worker import ACCEPTED, SENDER_OK, Configuration, client_of, transaction

INTERNAL = "451 4.3.0 Temporary failure, try again later"
OK = "250 2.0.0 OK"
CLEAR = "Authentication_Without_TLS = true"


def seen_by(named: str) -> list[object]:
    """Return what a handler has noted."""
    found: list[object] = __import__(named.partition(":")[0]).seen
    return found


async def asked(folder: Path, methods: str, *commands: str, core: Sequence[str] = (), before: str = "") -> list[str]:
    """Return the replies to commands, after EHLO."""
    made = with_handler(folder, 1, methods, before=before)
    made.lines += core
    async with client_of(made) as client:
        return [await client.ask(command) for command in commands]


# ---------------------------------------------------------------- RSET, NOOP, VRFY


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt", "StopIteration", "asyncio.CancelledError"])
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_what_would_end_the_worker_is_a_failure_of_the_hook(kind: str, error: str, tmp_path: Path) -> None:
    methods = f"{kind} handle_NOOP(self, server, session, envelope, argument):\n    raise {error}"
    replies = await asked(tmp_path, methods, "NOOP", "MAIL FROM:<>", before="import asyncio")
    assert replies == [INTERNAL, SENDER_OK]


@pytest.mark.parametrize(
    ("hook", "command", "argument", "passed"),
    [
        ("handle_RSET(self, server, session, envelope)", "RSET", None, OK),
        ("handle_NOOP(self, server, session, envelope, argument)", "NOOP one two", "one two", OK),
        ("handle_NOOP(self, server, session, envelope, argument)", "NOOP", "", OK),
        ("handle_VRFY(self, server, session, envelope, argument)", "VRFY <bob@example.com>", "bob@example.com", None),
    ],
)
@pytest.mark.parametrize("define", ["def", "async def"])
async def test_a_command_without_a_phase_asks_its_hook(
    define: str, hook: str, command: str, argument: str | None, passed: str | None, tmp_path: Path
) -> None:
    noted = "argument" if argument is not None else "None"
    methods = f"{define} {hook}:\n    seen.append({noted})\n    return answers.pop(0)"
    before = "seen = []\nanswers = ['250 own', '502 5.5.1 no', None, '354 go']"
    named = handler(tmp_path, methods, before=before)
    async with client_of(loading(tmp_path, 1, named)) as client:
        replies = [await client.ask(command) for _ in range(4)]
    assert replies == [passed or "250 own", "502 5.5.1 no", INTERNAL, INTERNAL]
    assert seen_by(named) == [argument] * 4


async def test_pipelined_commands_keep_their_order_around_a_hook(tmp_path: Path) -> None:
    methods = "async def handle_RSET(self, server, session, envelope):\n    await asyncio.sleep(0)\n    return '250 OK'"
    async with client_of(with_handler(tmp_path, 1, methods, before="import asyncio")) as client:
        replies = await client.pipeline("RSET", "MAIL FROM:<a@sender.test>", "RSET", "HELP", "NOOP")
    assert [each[:9] for each in replies] == ["250 2.0.0", "250 2.1.0", "250 2.0.0", "214 2.0.0", "250 2.0.0"]


async def test_a_hook_without_an_answer_in_time_is_451(tmp_path: Path) -> None:
    methods = "async def handle_NOOP(self, server, session, envelope, argument):\n    await asyncio.Event().wait()"
    made = with_handler(tmp_path, 1, methods, "timeout = 0.05", before="import asyncio")
    with capture_logs() as log:
        async with client_of(made) as client:
            assert await client.ask("NOOP") == INTERNAL
            assert await client.ask("RSET") == OK
    assert [each["reason"] for each in log if each["event"] == "validator_failed"] == ["deadline passed"]


# ---------------------------------------------------------------- HELO, EHLO


async def test_helo_asks_its_hook(tmp_path: Path) -> None:
    methods = """
    async def handle_HELO(self, server, session, envelope, hostname):
        session.host_name = "forged.test"
        return "550 5.7.1 no" if hostname == "bad.test" else "250 someone.else"
    """
    replies = await asked(tmp_path, methods, "HELO bad.test", "HELO good.test", "EHLO bad.test")
    assert replies[:2] == ["550 5.7.1 no", "250 ringback.test"]
    assert replies[2].startswith("250-ringback.test\n")


EHLO = """
async def handle_EHLO(self, server, session, envelope, hostname, responses):
    seen.append(list(responses))
    {}
"""


async def offered(folder: Path, code: str, *core: str) -> tuple[list[str], list[str], str]:
    """Return the lines of our own EHLO reply, those behind a hook, and the reply to MAIL after it."""
    named = handler(folder, EHLO.format(code), before="seen = []")
    made = loading(folder, 1, named)
    made.lines += core
    async with client_of(made) as client:
        reply = await client.ask("EHLO client.test")
        mail = await client.ask("MAIL FROM:<a@sender.test>")
    (_, given) = seen_by(named)
    assert isinstance(given, list)
    assert [each[3] for each in given] == ["-"] * (len(given) - 1) + [" "]
    return [each[4:] for each in given], [each[4:] for each in reply.splitlines()], mail


@pytest.mark.parametrize(
    ("code", "removed"),
    [
        ("return responses", ()),
        ("return tuple(responses)", ()),
        ("return ['250 only']", None),
        ("return [each for each in responses if 'CHUNKING' not in each]", ("CHUNKING",)),
        ("return [each for each in responses if each[4:8] not in ('SIZE', 'PRDR')]", ("SIZE", "PRDR")),
        ("return responses + ['250 X-OWN', '250-XCLIENT NAME', '250']", ()),
        ("return [each.replace('SIZE', 'SIZE 1 2') for each in responses]", ()),
        ("responses.clear(); return ['250-ringback.test', '250 SIZE']", None),
        ("return '250 HELP'", ()),
    ],
)
async def test_a_hook_may_remove_lines_of_the_ehlo_reply_and_add_none(
    code: str, removed: Sequence[str] | None, tmp_path: Path
) -> None:
    own, heard, mail = await offered(tmp_path, code)
    if removed is None:
        removed = [line.split()[0] for line in own[1:] if line.split()[0] not in code]
    assert heard == [own[0], *[line for line in own[1:] if line.split()[0] not in removed]]
    assert mail == SENDER_OK


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        ("return '550 5.7.1 no'", "550 5.7.1 no"),
        ("return ['550-5.7.1 one', '550 5.7.1 two']", "550-5.7.1 one\n550 5.7.1 two"),
        ("return []", INTERNAL),
        ("return None", INTERNAL),
        ("return ['250-ringback.test', '550 no']", INTERNAL),
        ("return ['250 x', 3]", INTERNAL),
        ("raise RuntimeError", INTERNAL),
    ],
)
async def test_a_hook_may_reject_ehlo(code: str, reply: str, tmp_path: Path) -> None:
    methods = EHLO.format(code).replace("seen.append(list(responses))", "if hostname != 'bad.test': return responses")
    assert await asked(tmp_path, methods, "EHLO bad.test", "NOOP") == [reply, OK]


@pytest.mark.parametrize(
    ("code", "reply"),
    [("return '250 HELP'", "250-ringback.test"), ("return '550 no'", "550 no"), ("return None", INTERNAL)],
)
async def test_the_older_hook_of_ehlo_has_four_parameters_and_adds_nothing(
    code: str, reply: str, tmp_path: Path
) -> None:
    methods = f"""
    async def handle_EHLO(self, server, session, envelope, hostname):
        if hostname != "bad.test":
            return "250 OK"
        {code}
    """
    (heard,) = await asked(tmp_path, methods, "EHLO bad.test")
    assert heard.splitlines()[0] == reply


async def test_what_the_older_hook_pushes_is_not_offered(tmp_path: Path) -> None:
    methods = """
    async def handle_EHLO(self, server, session, envelope, hostname):
        await server.push("250-X-OWN")
        return "250 X-LAST"
    """
    (heard,) = await asked(tmp_path, methods, "EHLO client.test")
    assert "X-" not in heard


# ---------------------------------------------------------------- AUTH


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


MECHANISM = """
async def auth_X__TOKEN(self, server, args):
    token = args[1] if len(args) > 1 else (await server.challenge_auth("token?")).decode()
    if token == "good":
        return AuthResult(success=True, auth_data=LoginPassword(b"carol", b"secret"))
    return AuthResult(success=False, handled=False)
async def handle_MAIL(self, server, session, envelope, address, options):
    seen.append((session.authenticated, getattr(session.auth_data, "login", None), session._login_data))
    return "250 OK"
"""
IMPORTS = "from aiosmtpd.smtp import MISSING, AuthResult, LoginPassword\nseen = []\n"


async def test_a_mechanism_of_the_handler_is_offered_and_logs_in(tmp_path: Path) -> None:
    named = handler(tmp_path, MECHANISM, before=IMPORTS)
    made = loading(tmp_path, 1, named)
    made.lines.append(CLEAR)
    with capture_logs() as log:
        async with client_of(made) as client:
            assert "\n250-AUTH X-TOKEN\n" in await client.ask("EHLO client.test") + "\n"
            assert await client.ask("MAIL FROM:<a@sender.test>") == SENDER_OK
            assert await client.ask("RSET") == OK
            assert await client.ask("AUTH X-TOKEN bad") == "535 5.7.8 Authentication credentials invalid"
            assert await client.ask("AUTH PLAIN " + plain("a", "b")) == "504 5.5.4 Unrecognized authentication type"
            assert await client.ask("AUTH x-token") == "334 " + base64.b64encode(b"token?").decode()
            assert await client.ask(base64.b64encode(b"good").decode()) == "235 2.7.0 Authentication successful"
            assert await client.ask("AUTH X-TOKEN good") == "503 5.5.1 Already authenticated"
            assert await client.ask("MAIL FROM:<a@sender.test>") == SENDER_OK
            assert await client.ask("RCPT TO:<dave@elsewhere.test>") != "550 5.7.1 Relaying denied"
    assert seen_by(named) == [(None, None, None), (True, b"carol", b"carol")]
    events = [(each["event"], each["user"], each["mechanism"]) for each in log if each["event"].startswith("authent")]
    assert events == [("authentication_failed", "", "X-TOKEN"), ("authenticated", "carol", "X-TOKEN")]


async def test_a_mechanism_needs_tls_as_ours_do(tmp_path: Path) -> None:
    replies = await asked(tmp_path, MECHANISM, "EHLO client.test", "AUTH X-TOKEN good", before=IMPORTS)
    assert "AUTH" not in replies[0]
    assert replies[1].startswith("538 ")


async def test_wrong_tokens_end_the_session(tmp_path: Path) -> None:
    made = with_handler(tmp_path, 1, MECHANISM, before=IMPORTS)
    made.lines.append(CLEAR)
    async with client_of(made) as client:
        for _ in range(3):
            assert (await client.ask("AUTH X-TOKEN bad")).startswith("535 ")
        assert (await client.reply()).startswith("421 4.7.0 Too many failed")


async def test_wrong_tokens_count_as_wrong_passwords_of_the_network(tmp_path: Path) -> None:
    made = with_handler(tmp_path, 1, MECHANISM, before=IMPORTS)
    made.lines += [CLEAR, 'Authentication_Failure_Rate = "2/3600"']
    with capture_logs() as log:
        async with client_of(made) as client:
            for _ in range(2):
                assert (await client.ask("AUTH X-TOKEN bad")).startswith("535 ")
            assert (await client.ask("AUTH X-TOKEN good")).startswith("454 "), "right or not, it is not asked any more"
    assert [each["mechanism"] for each in log if each["event"] == "authentication_limited"] == ["X-TOKEN"]


PATIENT = """
async def auth_X__TOKEN(self, server, args):
    if await server.challenge_auth("token?") is MISSING:
        return AuthResult(success=False, handled=True)
    return AuthResult(success=True, auth_data=LoginPassword(b"carol", b"secret"))
"""


async def test_a_cancelled_or_right_token_costs_no_guess(tmp_path: Path) -> None:
    made = with_handler(tmp_path, 1, PATIENT, before=IMPORTS)
    made.lines += [CLEAR, 'Authentication_Failure_Rate = "1/3600"']
    async with client_of(made) as client:
        for _ in range(3):
            await client.ask("AUTH X-TOKEN")
            assert (await client.ask("*")).startswith("501 ")
        await client.ask("AUTH X-TOKEN")
        assert (await client.ask(base64.b64encode(b"good").decode())).startswith("235 ")


@pytest.mark.parametrize(
    ("answer", "reply"),
    [("*", "501 5.7.0 Authentication cancelled"), ("&&", "501 5.5.2 Cannot decode base64")],
)
async def test_a_client_may_cancel_a_challenge(answer: str, reply: str, tmp_path: Path) -> None:
    methods = """
    async def auth_X(self, server, args):
        response = await server.challenge_auth("token?")
        return AuthResult(success=False) if response is MISSING else response
    """
    made = with_handler(tmp_path, 1, methods, before=IMPORTS)
    made.lines.append(CLEAR)
    async with client_of(made) as client:
        assert (await client.ask("AUTH X")).startswith("334 ")
        assert await client.ask(answer) == reply
        assert await client.ask("NOOP") == OK


@pytest.mark.parametrize(
    ("code", "reply", "user"),
    [
        ("return b'dave'", "235 2.7.0 Authentication successful", "dave"),
        ("return True", "235 2.7.0 Authentication successful", "unknown"),
        ("return False", "535 5.7.8 Authentication credentials invalid", ""),
        ("return MISSING", "535 5.7.8 Authentication credentials invalid", ""),
        ("return None", "535 5.7.8 Authentication credentials invalid", ""),
        ("await server.push('454 4.7.0 later')", "454 4.7.0 later", ""),
        ("await server.push('454 4.7.0 later'); return False", "454 4.7.0 later", ""),
        ("await server.push('454 4.7.0 later'); return b'dave'", INTERNAL, ""),
        ("await server.push('235 in')", INTERNAL, ""),
        ("return AuthResult(success=False, handled=False, message='534 5.7.9 weak')", "534 5.7.9 weak", ""),
        ("return AuthResult(success=True, message='235 welcome')", "235 welcome", "unknown"),
        ("return AuthResult(success=True, message='250 welcome')", INTERNAL, ""),
        ("return AuthResult(success=False, message='235 welcome')", INTERNAL, ""),
        ("raise RuntimeError", INTERNAL, ""),
    ],
)
async def test_a_mechanism_returns_what_aiosmtpd_knows(code: str, reply: str, user: str, tmp_path: Path) -> None:
    methods = f"async def auth_X(self, server, args):\n    {code}"
    made = with_handler(tmp_path, 1, methods, before=IMPORTS)
    made.lines.append(CLEAR)
    with capture_logs() as log:
        async with client_of(made) as client:
            assert await client.ask("AUTH X") == reply
            assert await client.ask("NOOP") == OK
    assert [each["user"] for each in log if each["event"] == "authenticated"] == ([user] if user else [])


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        ("return MISSING", "504 5.5.4 Unrecognized authentication type"),
        ("session.auth_data = 'dave'; return '235 2.7.0 in'", "235 2.7.0 in"),
        ("return '535 5.7.8 no'", "535 5.7.8 no"),
        ("return '250 fine'", INTERNAL),
        ("return None", INTERNAL),
        ("await server.push('454 4.7.0 later')", "454 4.7.0 later"),
    ],
)
async def test_handle_auth_comes_before_every_mechanism(code: str, reply: str, tmp_path: Path) -> None:
    methods = f"""
    async def handle_AUTH(self, server, session, envelope, args):
        seen.append(args)
        {code}
    """
    assert await asked(tmp_path, methods, "AUTH PLAIN eA==", core=[CLEAR], before=IMPORTS) == [reply]


async def test_a_challenge_waits_for_the_client_and_not_for_the_hooks_deadline(tmp_path: Path) -> None:
    made = with_handler(tmp_path, 1, MECHANISM, "timeout = 0.05", before=IMPORTS)
    made.lines.append(CLEAR)
    async with client_of(made) as client:
        assert (await client.ask("AUTH X-TOKEN")).startswith("334 ")
        await asyncio.sleep(0.1)  # more than the hook has; however slow the machine is, this is longer
        assert (await client.ask(base64.b64encode(b"good").decode())).startswith("235 ")


async def test_a_client_that_leaves_in_a_challenge_is_not_the_handlers_failure(tmp_path: Path) -> None:
    made = with_handler(tmp_path, 1, MECHANISM, before=IMPORTS)
    made.lines.append(CLEAR)
    worker = load_service(made.write())
    await worker.start()
    try:
        with capture_logs() as log:
            client = await Conversation.open(*worker.addresses[0])
            await client.ehlo()
            assert (await client.ask("AUTH X-TOKEN")).startswith("334 ")
            await client.close()
            assert await worker._sessions.wait(10)
        assert [(each["event"], each.get("ended")) for each in log] == [("session", "client gone")]
    finally:
        await worker.stop(now=True)


# ---------------------------------------------------------------- PROXY, the end, several modules


@pytest.mark.parametrize("answer", ["True", "False"])
async def test_a_hook_of_proxy_may_turn_the_connection_away(answer: str, tmp_path: Path) -> None:
    methods = f"""
    async def handle_PROXY(self, server, session, envelope, proxy_data):
        seen.append((proxy_data.version, str(proxy_data.src_addr), proxy_data.src_port, str(proxy_data.dst_addr)))
        seen.append((proxy_data.valid, session.proxy_data is proxy_data, session.peer))
        return {answer}
    """
    named = handler(tmp_path, methods, before="seen = []")
    made = loading(tmp_path, 1, named)
    made.lines.append("PROXY_Protocol_Networks = ( 127.0.0.1 )")
    worker = load_service(made.write())
    await worker.start()
    try:
        client = await Conversation.connect(*worker.addresses[0])
        await client.send("PROXY TCP4 192.0.2.1 198.51.100.2 1234 25")
        if answer == "True":
            assert (await client.reply()).startswith("220 ")
        else:
            assert await client.rest() == b""
        client.abort()
    finally:
        await worker.stop(now=True)
    assert seen_by(named) == [(1, "192.0.2.1", 1234, "198.51.100.2"), (True, True, ("192.0.2.1", 1234))]


def facades() -> list[object]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each).__module__ == "proxy.modules.python.facade"]


async def test_no_facade_outlives_its_session(tmp_path: Path) -> None:
    methods = "async def handle_MAIL(self, server, session, envelope, address, options):\n    return '250 OK'"
    made = with_handler(tmp_path, 1, methods)
    worker = load_service(made.write())
    await worker.start()
    before = len(facades())
    try:
        for _ in range(3):
            client = await Conversation.open(*worker.addresses[0])
            await client.ehlo()
            assert await client.ask("MAIL FROM:<a@sender.test>") == SENDER_OK
            await client.close()
        assert await worker._sessions.wait(10)
        assert len(facades()) == before
    finally:
        await worker.stop(now=True)


async def test_a_worker_without_such_a_module_makes_no_facade(tmp_path: Path) -> None:
    worker = load_service(Configuration(tmp_path, 1).write())
    await worker.start()
    try:
        hooks = worker.front.hooks
        assert (hooks.begin, hooks.end, hooks.noop, hooks.ehlo, hooks.auth, dict(hooks.mechanisms)) == (
            None, None, None, None, None, {},
        )  # fmt: skip
    finally:
        await worker.stop(now=True)


async def test_two_handlers_are_asked_in_the_configurations_order(tmp_path: Path) -> None:
    methods = """
    async def handle_NOOP(self, server, session, envelope, argument):
        return "550 {0}" if argument == "{0}" else "250 OK"
    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        return [each for each in responses if "{1}" not in each]
    async def handle_MAIL(self, server, session, envelope, address, options):
        return "550 {0}" if address.startswith("{0}") else "250 OK"
    """
    made = with_handler(tmp_path, 1, methods.format("one", "SIZE"))
    other = handler(tmp_path, methods.format("two", "PRDR"))
    made.lines += ['python "other" {', f'  handler = "{other}"', '  path = "python"', "}"]
    async with client_of(made) as client:
        reply = await client.ask("EHLO client.test")
        assert "SIZE" not in reply
        assert "PRDR" not in reply
        assert "CHUNKING" in reply
        replies = [await client.ask(command) for command in ("NOOP one", "NOOP two", "NOOP", "MAIL FROM:<two@a.test>")]
    assert replies == ["550 one", "550 two", OK, "550 two"]


async def test_handle_exception_words_the_reply_to_our_own_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("proxy.smtp.commands.mail.sender_of", fail)
    methods = "async def handle_exception(self, error):\n    return f'450 4.3.0 {error}'"
    assert await asked(tmp_path, methods, "MAIL FROM:<a@sender.test>", "NOOP") == ["450 4.3.0 ours", OK]


async def test_mail_still_goes_through_a_handler_with_every_hook(tmp_path: Path) -> None:
    hooks = {
        "HELO": "hostname", "EHLO": "hostname, responses", "MAIL": "address, options", "RCPT": "address, options",
        "DATA": "", "RSET": "", "NOOP": "argument", "VRFY": "address",
    }  # fmt: skip
    methods = "\n".join(
        f"async def handle_{name}(self, server, session, envelope, {more}):\n"
        f"    return {'responses' if name == 'EHLO' else repr('250 OK')}"
        for name, more in hooks.items()
    )
    async with Exchanger() as upstream, client_of(with_handler(tmp_path, upstream.port, methods)) as client:
        assert (await transaction(client))[-1] == ACCEPTED


# ---------------------------------------------------------------- STARTTLS


@pytest.mark.parametrize("code", ["return True", "return False", "return None", "raise RuntimeError"])
async def test_a_hook_of_starttls_may_leave_the_client_only_quit(code: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("mx.test")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "key.pem").chmod(0o600)
    methods = f"""
    def handle_STARTTLS(self, server, session, envelope):
        seen.append((session.ssl["cipher"] is not None, server.transport.get_extra_info("ssl_object") is not None))
        {code}
    """
    named = handler(tmp_path, methods, before="seen = []")
    made = loading(tmp_path, 1, named)
    made.lines += ["TLS_Certificate = certificate.pem", "TLS_Key = key.pem"]
    context = ssl.create_default_context()
    authority.configure_trust(context)
    worker = load_service(made.write())
    await worker.start()

    def talk() -> list[int]:
        client = smtplib.SMTP(*worker.addresses[0], timeout=10)
        try:
            client._host = "mx.test"  # type: ignore[attr-defined]  # the name that smtplib verifies
            client.ehlo()
            client.starttls(context=context)
            first = client.docmd("EHLO client.test")[0]
            return [first] if first == 554 else [first, client.docmd("QUIT")[0]]
        finally:
            client.close()

    try:
        codes = await asyncio.to_thread(talk)
    finally:
        await worker.stop(now=True)
    assert codes == ([250, 221] if code == "return True" else [554])
    assert seen_by(named) == [(True, True)]
