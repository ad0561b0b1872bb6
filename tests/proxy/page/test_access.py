"""Access to the page: only with a login, not under a foreign Host or Origin, and only what the role may see."""

from __future__ import annotations

import asyncio
import re
import ssl
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from aiohttp import ClientError

from config.schema.values import Endpoint
from proxy.options.core import CoreOptions
from proxy.options.route import Route
from proxy.page import serving, streams
from proxy.page.guard import HEADERS, Guard
from proxy.page.passes import FREE_GUESSES, LINK_SECONDS, MOST_GUESSERS, MOST_LINKS, Guesses, Links, Passes
from proxy.page.routes import PATHS, PUBLIC, Role
from proxy.smtp.passwords import PasswordHash
from tests.support.pages import HOSTILE, browser, logged_in, opened, text
from tests.support.waiting import BOUND, eventually, eventually_answered

STREAMS = [path for path in PATHS if path.startswith("/stream/")]
PAGES = [
    *[path.replace("{id}", "x") for path, each in PATHS.items() if each.role and path not in (*STREAMS, "/operate")],
    "/why?q=x", "/nothing",
]  # fmt: skip


async def test_every_route_is_in_the_table(tmp_path: Path) -> None:
    async with opened(tmp_path) as page:
        runner = page.page._runner
        assert runner is not None
        routes = runner.app.router.routes()
        assert {each.resource.canonical for each in routes if each.resource is not None} == PATHS.keys()
    hidden = {path.split("/")[1] for path, each in PATHS.items() if each.role is not None}
    assert not hidden & PUBLIC, "the first part of a path says whether a login is needed"


async def test_without_a_login_every_page_leads_to_the_form_and_streams_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, browser() as session:
        for path in PAGES:
            async with session.get(page.address + path, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, "/login"), path
        for path in STREAMS:
            await text(session, page.address + path, 401)
        async with session.post(page.address + "/operate", headers={"Origin": page.address}) as answer:
            assert str(answer.url).endswith("/login")


async def test_a_link_works_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, browser() as first, browser() as second:
        link = page.link()
        await text(first, link)
        await text(first, page.address + "/now")
        assert "was used" in await text(second, link, 403)
        await text(second, page.address + "/now", 303)


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, browser() as session, session.get(page.link()) as answer:
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith(f"ringback-{page.port}=")
        for word in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"):
            assert word in cookie
        # after a redirect, a browser that came from another site would not send a Strict cookie
        assert 'http-equiv="refresh"' in await answer.text()


@pytest.mark.parametrize("host", ["evil.test", "evil.test:9026", "localhost.evil.test", "127.0.0.1.evil.test", ""])
async def test_a_foreign_host_is_refused_even_with_the_cookie(tmp_path: Path, host: str) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        (cookie,) = session.cookie_jar
        headers = {"Host": host, "Cookie": f"{cookie.key}={cookie.value}"}
        for path in ("/now", "/login", "/static/page.js", "/stream/now"):
            answer = await text(session, page.address + path, 403, headers=headers)
            assert "Web_Hosts" in answer


async def test_hosts_that_are_named_and_addresses_are_ours(tmp_path: Path) -> None:
    async with opened(tmp_path, web_hosts=("page.example.com",)) as page, browser() as session:
        for host in ("localhost", f"localhost:{page.port}", "page.example.com", "PAGE.example.com.", "mx.example.com",
                     f"127.0.0.1:{page.port}", "[::1]:9026"):  # fmt: skip
            await text(session, page.address + "/login", headers={"Host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.test"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)  # fmt: skip
async def test_another_sites_page_gets_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        await text(session, page.address + "/now", 403, headers=headers)
        await text(session, page.address + "/stream/now", 403, headers=headers)
        for path in ("/operate", "/logout", "/login"):
            async with session.post(page.address + path, headers=headers) as answer:
                assert answer.status == 403


async def test_a_form_without_an_origin_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        async with session.post(page.address + "/logout") as answer:
            assert answer.status == 403
        async with session.post(page.address + "/logout", headers={"Origin": page.address}) as answer:
            assert str(answer.url).endswith("/login")
        await text(session, page.address + "/now", 303)


async def test_every_answer_has_the_headers_that_keep_others_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        for path in (*PAGES, "/login", "/login/x", "/static/page.css", "/static/none", "/stream/now"):
            async with session.get(page.address + path, allow_redirects=False) as answer:
                assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
        assert "unsafe" not in HEADERS["Content-Security-Policy"]


async def test_each_role_sees_what_it_may(tmp_path: Path) -> None:
    async with opened(tmp_path) as page:
        async with logged_in(page, Role.READ) as session:
            shown = await text(session, page.address + "/now")
            assert 'href="/now" aria-current="page"' in shown
            for path, each in PATHS.items():
                if each.role is not None and each.role > Role.READ:
                    assert f'href="{path}"' not in shown
                    if path != "/operate":
                        assert "numbers only" in await text(session, page.address + path.replace("{id}", "x"), 403)
        async with logged_in(page, Role.READ_MAIL) as session:
            for path in ("/now", "/live", "/why"):
                shown = await text(session, page.address + path)
                assert "/operate" not in shown
                assert re.findall(r'href="(/\w+)" aria-current', shown) == [path]
            assert 'href="/why" aria-current="page"' in await text(session, page.address + "/session/x", 404)
            async with session.post(
                page.address + "/operate", data={"command": "kill session", "about": "x"},
                headers={"Origin": page.address},
            ) as answer:  # fmt: skip
                assert answer.status == 403
        async with logged_in(page, Role.OPERATE) as session:
            assert "/operate" in await text(session, page.address + "/now")
            for command, status in (("kill session", 409), ("shutdown", 403), ("kill session x", 403), ("", 403)):
                form = {"command": command, "about": "x y; shutdown"}
                async with session.post(page.address + "/operate", data=form, headers={"Origin": page.address}) as done:
                    assert done.status == status, command


async def test_a_forged_or_old_cookie_is_nothing(tmp_path: Path) -> None:
    now = 1000.0
    passes = Passes(b"k" * 32, lambda: now)
    value = passes.issue(Role.READ)
    assert passes.role_of(value) is Role.READ
    assert Passes(b"x" * 32, lambda: now).role_of(value) is None
    for forged in ("3" + value[1:], value[:-1], value + "0", "", ".", "...", "\u00e9" + value, "1.9999999999.x."):
        assert passes.role_of(forged) is None
    now += 13 * 3600
    assert passes.role_of(value) is None
    async with opened(tmp_path) as page, browser() as session:
        for each in HOSTILE:
            sent = f"ringback-{page.port}=" + each.encode("ascii", "backslashreplace").decode().replace("\x07", "")
            cookie = re.sub(r"[\x00-\x1f;]", "", sent)
            await text(session, page.address + "/now", 303, headers={"Cookie": cookie})


def test_links_end_and_are_few() -> None:
    now = 0.0
    links = Links(lambda: now)
    first = links.make(Role.READ)
    kept = [links.make(Role.READ_MAIL) for _ in range(MOST_LINKS)]
    assert links.use(first) is None
    assert links.use(kept[-1]) is Role.READ_MAIL
    now = LINK_SECONDS + 1
    assert links.use(kept[-2]) is None


def test_guessing_waits_and_is_bounded() -> None:
    now = 0.0
    guesses = Guesses(lambda: now)
    for _ in range(FREE_GUESSES):
        assert guesses.may("192.0.2.1")
        guesses.wrong("192.0.2.1")
    assert not guesses.may("192.0.2.1")
    assert guesses.may("192.0.2.2")
    now = 61.0
    assert guesses.may("192.0.2.1")
    for number in range(2 * MOST_GUESSERS):
        guesses.wrong(f"client {number}")
    assert len(guesses._known) == MOST_GUESSERS


# ---------------------------------------------------------------- beyond loopback


def options(**core: Any) -> CoreOptions:
    return CoreOptions(esmtp_listener=(), gateway=Route("192.0.2.25"), hostname="mx.example.com", **core)


def test_beyond_loopback_tls_and_a_password_are_required() -> None:
    plain = {"web_plain_networks": (ip_network("172.16.0.0/12"),)}
    certificate, passwords = {"web_tls_certificate": Path("x")}, {"web_password_file": Path("x")}
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        for given in ({}, certificate, passwords, certificate | plain):
            with pytest.raises(ValueError, match="not on loopback"):
                options(web_listener=(Endpoint(host, 9026),), **given)
        options(web_listener=(Endpoint(host, 9026),), **certificate, **passwords)
        options(web_listener=(Endpoint(host, 9026),), **plain)
    options(web_listener=(Endpoint("127.0.0.1", 9026), Endpoint("::1", 9026)))


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    file = tmp_path / "page.pem"
    file.write_bytes(
        certificate.private_key_pem.bytes() + b"".join(each.bytes() for each in certificate.cert_chain_pems)
    )
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return file


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    cheap = PasswordHash(4, 8, 1, b"s" * 16, bytes(32))
    file.write_text(f"anna:{PasswordHash(4, 8, 1, b's' * 16, cheap.derived('right'))}\n")
    return file


async def test_with_tls_the_cookie_is_secure_and_a_client_elsewhere_needs_the_password(
    tmp_path: Path, pem: Path, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    async with opened(tmp_path, host="0.0.0.0", web_tls_certificate=pem, web_password_file=users) as page:
        assert page.address == f"https://localhost:{page.port}"
        monkeypatch.setattr(Guard, "is_near", lambda *_: False)  # every client of a test is on loopback
        async with browser() as session:
            assert "log in with a password" in await text(session, page.link(), 403, ssl=trusted)
            for user, password, status in (("anna", "wrong", 403), ("nobody", "right", 403), ("anna", "right", 200)):
                async with session.post(
                    page.address + "/login", data={"user": user, "password": password},
                    headers={"Origin": page.address}, ssl=trusted,
                ) as answer:  # fmt: skip
                    assert answer.status == status
            cookie = answer.headers["Set-Cookie"]
            assert cookie.startswith("__Host-ringback")
            assert "Secure" in cookie
            await text(session, page.address + "/live", ssl=trusted)


async def test_a_client_that_guesses_passwords_has_to_wait(tmp_path: Path, users: Path) -> None:
    async with opened(tmp_path, web_password_file=users) as page, browser() as session:
        seen = []
        for _ in range(FREE_GUESSES + 1):
            async with session.post(
                page.address + "/login", data={"user": "anna", "password": "wrong"}, headers={"Origin": page.address}
            ) as answer:
                seen.append(answer.status)
        assert seen == [403] * FREE_GUESSES + [429]


def test_a_network_of_ipv6_guesses_as_one_client() -> None:
    guesses = Guesses(lambda: 0.0)
    for number in range(FREE_GUESSES):
        guesses.wrong(f"2001:db8::{number}")
    assert not guesses.may("2001:db8::ffff")
    assert guesses.may("2001:db8:0:1::1")
    assert guesses.may("192.0.2.1")
    guesses.wrong("")
    assert guesses.may("")


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("application/x-www-form-urlencoded; charset=foo", b"user=a&password=b"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"user=a"),
        ("application/x-www-form-urlencoded", b"user=%ed%a0%80&password=%ff%00"),
        ("multipart/form-data", b"x"),
        (
            "multipart/form-data; boundary=b",
            (
                b"--b\r\nContent-Disposition: form-data; name=user\r\n"
                b"Content-Transfer-Encoding: odd\r\n\r\nx\r\n--b--\r\n"
            ),
        ),
        ("multipart/form-data; boundary=" + "b" * 100, b"x"),
    ],
)  # fmt: skip
async def test_a_form_that_cannot_be_read_is_no_fault_of_ours(
    tmp_path: Path, users: Path, kind: str, form: bytes
) -> None:
    with structlog.testing.capture_logs() as logged:
        async with opened(tmp_path, web_password_file=users) as page, logged_in(page) as session:
            for path in ("/login", "/operate"):
                headers = {"Origin": page.address, "Content-Type": kind}
                async with session.post(page.address + path, data=form, headers=headers) as answer:
                    assert answer.status in {400, 403}, (path, answer.status)
    assert "page_failed" not in [each["event"] for each in logged]


async def test_forms_work_behind_a_proxy_that_speaks_tls(tmp_path: Path) -> None:
    names = {"Host": "mx.example.com", "Origin": "https://mx.example.com", "Sec-Fetch-Site": "same-origin"}
    async with opened(tmp_path) as page, logged_in(page) as session:
        async with session.post(page.address + "/logout", headers=names, allow_redirects=False) as answer:
            assert answer.status == 303
        for site in ("same-site", "cross-site", "none"):
            other = {**names, "Sec-Fetch-Site": site}
            async with session.post(page.address + "/logout", headers=other, allow_redirects=False) as answer:
                assert answer.status == 403, site


async def test_a_path_without_a_slash_is_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as page:
        for request in (b"OPTIONS *", b"GET *", b"OPTIONS x"):
            reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
            head = f" HTTP/1.1\r\nHost: {page.address[7:]}\r\nOrigin: {page.address}\r\nConnection: close\r\n\r\n"
            writer.write(request + head.encode())
            async with asyncio.timeout(BOUND):
                assert (await reader.readline()).split()[1][:1] in {b"3", b"4"}, request
            writer.close()


async def test_without_tls_a_client_elsewhere_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = (ip_network("172.16.0.0/12"),)
    guard = Guard(frozenset(), networks, Passes(b"k" * 32))
    for client in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "172.18.0.1"):
        assert guard.is_near(client), client
    for client in ("192.0.2.1", "::ffff:192.0.2.1", "", "fe80::1%eth0", "evil.test"):
        assert not guard.is_near(client), client
    async with opened(tmp_path, host="0.0.0.0", web_plain_networks=networks) as page, browser() as session:
        await text(session, page.address + "/login")
        monkeypatch.setattr(Guard, "is_near", lambda *_: False)
        with pytest.raises(Exception, match=r"(?i)disconnected|reset"):
            await text(session, page.address + "/login")


# ---------------------------------------------------------------- bounds


async def test_viewers_and_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_VIEWERS", 2)
    async with opened(tmp_path) as page, logged_in(page) as session:
        first = await session.get(page.address + "/stream/now")
        second = await session.get(page.address + "/stream/live")
        await text(session, page.address + "/stream/now", 503)
        first.close()
        second.close()


async def test_a_stream_that_is_refused_lives_no_longer_than_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LIFE_SECONDS", 0.2)
    async with opened(tmp_path) as page:
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
        writer.write(b"GET /stream/now HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(BOUND):
            assert b" 401 " in await reader.readline()
            await reader.read()  # until it is closed
        writer.close()


async def test_connections_that_do_not_begin_tls_are_bounded(
    tmp_path: Path, pem: Path, users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 3)
    async with opened(tmp_path, host="0.0.0.0", web_tls_certificate=pem, web_password_file=users) as page:
        made = [await asyncio.open_connection("127.0.0.1", page.port) for _ in range(9)]

        def closed() -> int:
            return sum(reader.at_eof() or reader.exception() is not None for reader, _ in made)

        await eventually(lambda: closed() >= 6, "those beyond the bound are closed")
        assert closed() == 6
        for _, writer in made:
            writer.close()
        trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

        async def served() -> bool:
            async with browser() as session:
                try:
                    await text(session, page.address + "/login", ssl=trusted)
                except (OSError, ClientError):
                    return False
            return True

        await eventually_answered(served, "a browser is served again")


async def test_a_viewer_that_reads_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(streams, "TICK_SECONDS", 0.0)
    async with opened(tmp_path) as page, logged_in(page) as session:
        view = page.page._streams
        numbers, big = count(), "x" * 400_000
        monkeypatch.setattr(streams.View, "parts", lambda _: {"part": f"{next(numbers)} {big}"})
        (cookie,) = session.cookie_jar
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port, limit=1024)
        writer.write(
            f"GET /stream/now HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie.key}={cookie.value}\r\n\r\n".encode()
        )
        await reader.readline()
        await eventually(lambda: bool(view.viewers), "a stream begins")
        await eventually(lambda: not view.viewers, "it ends")  # the socket is full, and no one reads it
        writer.close()


async def test_long_requests_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as page, logged_in(page) as session:
        async with session.get(page.address + "/why?q=" + "x" * 9000) as answer:
            assert answer.status == 400
        async with session.post(
            page.address + "/operate", data={"command": "x" * 9000}, headers={"Origin": page.address}
        ) as answer:
            assert answer.status == 413
