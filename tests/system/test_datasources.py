"""Scripts and logins over databases in the real server: one that dies and returns, and both dialects."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.consoles import refused, said, value
from tests.support.conversation import Conversation
from tests.support.house import greeted, opened
from tests.support.programs import free_port
from tests.support.ringback import Ringback, command
from tests.support.servers import RedisServer
from tests.support.waiting import eventually, eventually_answered
from tests.support.world import Stage

pytestmark = pytest.mark.real("dnsmasq", "redis-server")

POLICY = """\
$rcpt = envelope :all "to";
$p = hash_create;
hash_set $p "user" $rcpt;
($quota) = ds_fetch "users" "HGET user:$user quota" $p;
$error = vctx_conn_get "datasource_error";
if not ec_test :is "${error}" "" { ec_action 451 "4.3.0 No answer: ${error}"; }
if not isset $quota { ec_action 550 "5.1.1 No such user"; }
ds_execute "seen" "insert into seen values (?)" [$rcpt];
($old) = ds_fetch "gone" "select 1";
$flag = vctx_conn_get "datasource_error";
ec_log "quota ${quota}, old ${flag}";
"""
LOGINS = """\
auth_ds { Scheme "ecauth" { Authenticate { cache = "logins"  returns_password = true  type_column = kind
  query = "select password, kind from users where name = :user"  map = [ user = "%{username}" ] } } }
"""


def of(running: Ringback, event: str) -> list[dict[str, Any]]:
    return [each for each in running.log if each["event"] == event]


async def asked(client: Conversation, user: str) -> str:
    """Return the reply to a recipient, in a transaction that then ends."""
    assert (await client.ask("MAIL FROM:<a@ok.test>")).startswith("250 ")
    reply = await client.ask(f"RCPT TO:<{user}@example.com>")
    await client.ask("RSET")
    return reply


async def test_a_database_decides_dies_and_returns_while_mail_goes_on(stage: Stage, tmp_path: Path) -> None:
    upstream, state = await stage.upstream(), tmp_path / "state"
    state.mkdir()
    seen = tmp_path / "seen.db"
    with sqlite3.connect(seen) as handle:
        handle.execute("create table seen (who text)")
    handle.close()
    with RedisServer("--requirepass", "hunter2") as redis:
        running = await opened(
            stage, tmp_path, f'State_Directory = "{state}"',
            f'Datasource "users" {{ uri = "redis://:hunter2@127.0.0.1:{redis.port}/0" }}',
            "Module datasource/ds_core ds_core {",
            f'  seen [ uri = "sqlite:{seen}" ] gone [ uri = "sqlite:{tmp_path}/nowhere.db" ] }}',
            upstream_port=upstream.port, scripts={"rcptto_phase1": POLICY},
        )  # fmt: skip
        client = await greeted(running)
        assert (await asked(client, "joe")).startswith("550 5.1.1 No such user")
        await said(state, "ds_core flush users")
        users = [f"*4\r\n$4\r\nHSET\r\n$20\r\nuser:{name}@example.com\r\n$5\r\nquota\r\n$1\r\n5\r\n"
                 for name in ("joe", "ann")]  # fmt: skip
        await _told(redis, "*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n" + "".join(users))
        assert (await asked(client, "joe")).startswith("250 ")
        assert (await asked(client, "joe' HGETALL x")).startswith("5")
        (told,) = await eventually(lambda: of(running, "script"), "the script's line is logged")
        assert told["text"] == "quota 5, old true"
        redis.kill()
        assert (await asked(client, "joe")).startswith("250 ")  # what is in the cache goes on
        assert (await asked(client, "ann")).startswith("451 4.3.0 No answer: ")
        assert (await asked(client, "joe")).startswith("250 ")
        stats = (await value(state, "ds_core stats"))["datasources"]["users"]
        assert (stats["hits"], stats["errors"], stats["manual"]) == (2, 1, 1)
        assert any("% hit, " in line for line in await said(state, "ds_core stats"))
        assert "there is no datasource `nobody`" in await refused(state, "ds_core flush nobody")
        redis.start()
        await _told(redis, "*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n" + "".join(users))

        async def answers() -> bool:
            return (await asked(client, "ann")).startswith("250 ")

        await eventually_answered(answers, "the datasource answers again")
        client.abort()
    assert await eventually(lambda: of(running, "datasource_up"), "it is up")
    (down,) = [each for each in of(running, "datasource_down") if each["datasource"] == "users"]
    assert down["server"] == f"redis://:***@127.0.0.1:{redis.port}/0"
    assert "hunter2" not in str(running.log)
    with sqlite3.connect(seen) as handle:
        assert ("joe@example.com",) in handle.execute("select who from seen").fetchall()
    handle.close()


async def _told(redis: RedisServer, octets: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(octets.encode())
    for _ in range(octets.count("*")):
        assert not (await reader.readline()).startswith(b"-")
    writer.close()
    await writer.wait_closed()


PLAIN = "Authentication_Without_TLS = true"
LISTENERS = {
    "ours": ["Authentication = datasource", "Authentication_Scheme = ECAUTH"],
    "2.2": [
        (
            "ESMTP_Listener = ( 127.0.0.1:PORT [ 0.0.0.0/0 = ( "
            'LOGIN [ extension = "AUTH" extension_argument = "LOGIN" uri = "ecauth://" ] ) ] )'
        )
    ],
    "4.x": [
        (
            'ESMTP_Listener { Listen "127.0.0.1:PORT" { SMTP_Extensions = ( "AUTH LOGIN" ) '
            'AuthLoginParameters = [ uri = "ecauth://" log_authentication = "true" ] } }'
        )
    ],
}
LOGINS_22 = """\
Module auth/auth_ds auth_ds { register:ecauth [ cache = "logins"  returns_password = "true"  type_column = "kind"
    query = "select password, kind from users where name = $user"  map = "userpw" ]
  map:userpw [ user = "%{username}" ] }
"""


@pytest.mark.parametrize("listener", LISTENERS)
async def test_a_datasource_checks_logins(stage: Stage, tmp_path: Path, listener: str) -> None:
    upstream, database = await stage.upstream(), tmp_path / "users.db"
    with sqlite3.connect(database) as handle:
        handle.execute("create table users (name text, password text, kind text)")
        handle.executemany(
            "insert into users values (?, ?, ?)",
            [("joe", "right", "clear"), ("old", "7c6a180b36896a0a8c02787eeafb0e4c", "md5_hex")],
        )
    handle.close()
    port = free_port()
    lines = [each.replace("PORT", str(port)) for each in (PLAIN, *LISTENERS[listener])]
    lines += [f'Datasource "logins" {{ uri = "sqlite:{database}" }}', LOGINS_22 if listener == "2.2" else LOGINS]
    running = await opened(stage, tmp_path, *lines, upstream_port=upstream.port, listen_port=port)
    replies = []
    for user, password in (("joe", "right"), ("joe", "wrong"), ("old", "password1"), ("' OR 1=1 --", "x")):
        client = await greeted(running)
        plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        replies.append((await client.ask(f"AUTH PLAIN {plain}"))[:3])
        client.abort()
    assert replies == ["235", "535", "535", "535"]
    (refused_one,) = await eventually(lambda: of(running, "password_kind_refused"), "the kind is logged")
    assert (refused_one["user"], "md5_hex" in refused_one["reason"]) == ("old", True)
    assert "right" not in str([each for each in running.log if each["event"].startswith("auth")])


def test_check_warns_of_datasources_that_do_not_answer(tmp_path: Path) -> None:
    configuration = tmp_path / "e.conf"
    configuration.write_text(
        'ESMTP_Listener = ( 127.0.0.1:2525 )\nGateway = "127.0.0.1"\nRelay_Domains = ( example.com )\n'
        'Nameservers = ( "127.0.0.1:9" )\n'
        'Datasource "a" { uri = "pgsql:host=127.0.0.1;port=1;user=x;password=hunter2" }\n'
        f'Datasource "b" {{ uri = ( "sqlite:{tmp_path}/x" "ldap://127.0.0.1:1/dc=x" ) }}\n'
    )
    done = subprocess.run(command("check", str(configuration)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, server in (("a", "pgsql:host=127.0.0.1;port=1;user=x;password=***"), ("b", f"sqlite:{tmp_path}/x"),
                         ("b", "ldap://127.0.0.1:1/dc=x")):  # fmt: skip
        assert f"warning: datasource `{name}`: {server} does not answer: " in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
