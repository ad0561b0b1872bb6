"""Postfix, Exim and OpenSMTPD as the exchangers of an address: the verdict on what they really say."""

from __future__ import annotations

import asyncio
import json
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import trustme

from proxy.callback.verdict import CallbackVerdict
from tests.support.callbacks import asking
from tests.support.exim_server import EximExchanger
from tests.support.opensmtpd import OpenSmtpd
from tests.support.programs import Folder
from tests.support.ringback import Setup, run
from tests.support.servers import MAIL_DOMAIN, Dnsmasq, Postfix, Server, Zone

NAMES = Zone(
    addresses={"mx.test": ("127.0.0.1",)},
    exchangers=dict.fromkeys((MAIL_DOMAIN, "exim.test", "opensmtpd.test", "elsewhere.test"), ((10, "mx.test"),)),
)

ACCESS = {
    "full": "452 4.2.2 Mailbox full",
    "over": "552 5.2.2 Quota exceeded",
    "grey": "450 4.2.0 Greylisted, see you in 300 seconds",
    "policy": "greylisting",
    "banned": "REJECT",
    "spammer": "554 5.7.1 Message refused by policy",
    "busy": "421 4.3.2 Too busy",
    "later": "DEFER_IF_PERMIT",
    "gone": "550 5.2.1 Mailbox disabled",
    "alone": "no_bounces",
    "listed": "on_a_list",
}
"""Local part → what Postfix's access table says of it."""

POSTGREY = "DEFER_IF_PERMIT Greylisted, see http://postgrey.schweikert.ch/help/example.com.html"


@pytest.fixture(scope="module")
def names() -> Iterator[Dnsmasq]:
    with Dnsmasq(NAMES) as server:
        yield server


@pytest.fixture(scope="module")
def certificate() -> Iterator[Path]:
    """A certificate and its key in one file; the servers start as root and read it as another user."""
    folder = Folder("certificate")
    path = folder.path / "mx.pem"
    issued = trustme.CA().issue_cert("mx.test")
    path.write_bytes(issued.private_key_pem.bytes() + b"".join(each.bytes() for each in issued.cert_chain_pems))
    path.chmod(0o644)
    yield path
    folder.remove()


class _Policy(socketserver.StreamRequestHandler):
    """One answer to every question in Postfix's policy delegation protocol; a question ends with an empty line."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line == b"\n":
                self.wfile.write(f"action={POSTGREY}\n\n".encode())


class _PolicyServer(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def a_policy_service() -> Iterator[int]:
    """Yield the port of a policy service that greylists everybody."""
    with _PolicyServer(("127.0.0.1", 0), _Policy) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def postfix_mx(certificate: Path) -> Iterator[Postfix]:
    """A Postfix that offers TLS."""
    with a_policy_service() as policy, Postfix(options=postfix_options(policy, certificate, "may")) as server:
        yield server


@pytest.fixture(scope="module")
def postfix_by_tls(certificate: Path) -> Iterator[Postfix]:
    """A Postfix that takes mail over TLS alone."""
    with Postfix(options=postfix_options(0, certificate, "encrypt")) as server:
        yield server


@pytest.fixture(scope="module")
def exim_mx(certificate: Path) -> Iterator[EximExchanger]:
    put_off = {"grey": "greylisted, please come back later", "later": "come back"}
    with EximExchanger("exim.test", ("bob", "grey", "later"), put_off=put_off, certificate=certificate) as server:
        yield server


@pytest.fixture(scope="module")
def opensmtpd_mx() -> Iterator[OpenSmtpd]:
    with OpenSmtpd(["bob@opensmtpd.test"]) as server:
        yield server


def postfix_options(policy: int, certificate: Path, security: str) -> dict[str, str]:
    """Return main.cf settings: some users, an access table, a policy service, TLS."""
    table = ", ".join(f"{{ {local_part}@{MAIL_DOMAIN} = {action} }}" for local_part, action in ACCESS.items())
    users = ", ".join(f"{{ {each}@{MAIL_DOMAIN} = inbox/ }}" for each in ("bob", *ACCESS))
    return {
        "virtual_mailbox_maps": f"inline:{{ {users} }}",
        "smtpd_restriction_classes": "no_bounces, on_a_list, greylisting",
        "greylisting": f"check_policy_service inet:127.0.0.1:{policy}",
        "no_bounces": "check_sender_access inline:{ { <> = 550 5.7.1 No bounces here } }",
        "on_a_list": "check_client_access static:{554 5.7.1 Service unavailable; blocked using list.example}",
        "smtpd_recipient_restrictions": f"check_recipient_access inline:{{ {table} }}, reject_unauth_destination",
        "smtpd_tls_security_level": security,
        "smtpd_tls_cert_file": str(certificate),
        "smtpd_tls_key_file": str(certificate),
    }


async def verdict_on(
    server: Server | EximExchanger, address: str, names: Dnsmasq, folder: Path, *options: str
) -> CallbackVerdict:
    async with asking(folder, port=server.port, nameserver=names.address, options=options) as callbacks:
        return await callbacks.verifier.verify(address)


# ---------------------------------------------------------------- Postfix


@pytest.mark.real("postfix", "dnsmasq")
@pytest.mark.parametrize(
    ("local_part", "status", "reason", "says"),
    [
        ("bob", "pass", "accepted", "250 2.1.5 Ok"),
        ("alice", "fail", "no_such_user", "User unknown in virtual mailbox table"),
        ("gone", "fail", "disabled", "550 5.2.1"),
        ("full", "transient", "mailbox_full", "452 4.2.2"),
        ("over", "transient", "mailbox_full", "552 5.2.2"),
        ("grey", "transient", "greylist", "450 4.2.0"),
        ("policy", "transient", "greylist", "450 4.7.1"),
        ("later", "transient", "deferred", "450 4.7.1"),
        ("busy", "transient", "busy", "421 4.3.2"),
        ("banned", "error", "policy", "554 5.7.1"),
        ("spammer", "error", "policy", "554 5.7.1"),
        ("listed", "error", "policy", "554 5.7.1"),
        ("alone", "error", "null_sender", "550 5.7.1"),
    ],
)
async def test_postfix(
    local_part: str, status: str, reason: str, says: str, names: Dnsmasq, tmp_path: Path, postfix_mx: Postfix
) -> None:
    verdict = await verdict_on(postfix_mx, f"{local_part}@{MAIL_DOMAIN}", names, tmp_path)
    assert (verdict.status.value, verdict.reason, verdict.tls) == (status, reason, True), verdict
    assert says in verdict.message


@pytest.mark.real("postfix", "dnsmasq")
async def test_postfix_relays_for_nobody(names: Dnsmasq, tmp_path: Path, postfix_mx: Postfix) -> None:
    verdict = await verdict_on(postfix_mx, "bob@elsewhere.test", names, tmp_path)
    assert (verdict.status.value, verdict.reason) == ("error", "policy")
    assert "Relay access denied" in verdict.message


@pytest.mark.real("postfix", "dnsmasq")
async def test_postfix_refuses_the_null_sender_and_takes_another(
    names: Dnsmasq, tmp_path: Path, postfix_mx: Postfix
) -> None:
    option = 'mailfrom_fallback = "probe@example.net"'
    verdict = await verdict_on(postfix_mx, f"alone@{MAIL_DOMAIN}", names, tmp_path, option)
    assert (verdict.status.value, verdict.reason, verdict.null_refused) == ("pass", "accepted", True), verdict


@pytest.mark.real("postfix", "dnsmasq")
@pytest.mark.parametrize(
    ("tls", "local_part", "status", "reason"),
    [
        ("ifavailable", "bob", "pass", "accepted"),
        ("ifavailable", "alice", "fail", "no_such_user"),
        ("no", "bob", "error", "tls_required"),
    ],
)
async def test_postfix_that_demands_tls(
    tls: str, local_part: str, status: str, reason: str, names: Dnsmasq, tmp_path: Path, postfix_by_tls: Postfix
) -> None:
    verdict = await verdict_on(postfix_by_tls, f"{local_part}@{MAIL_DOMAIN}", names, tmp_path, f'tls = "{tls}"')
    assert (verdict.status.value, verdict.reason, verdict.tls) == (status, reason, tls != "no"), verdict


@pytest.mark.real("postfix", "dnsmasq")
@pytest.mark.parametrize(
    ("local_part", "exit_status", "status", "reason"),
    [
        ("bob", 0, "pass", "accepted"),
        ("alice", 65, "fail", "no_such_user"),
        ("grey", 69, "transient", "greylist"),
        ("spammer", 69, "error", "policy"),
    ],
)
async def test_the_command_tells_of_postfix(
    local_part: str,
    exit_status: int,
    status: str,
    reason: str,
    names: Dnsmasq,
    tmp_path: Path,
    postfix_mx: Postfix,
) -> None:
    memory = {"store": '"memory"'}
    setup = Setup(upstream_port=1, nameserver=names.address, exchanger_port=postfix_mx.port, callback=memory)
    path = str(setup.write(tmp_path))
    address = f"{local_part}@{MAIL_DOMAIN}"
    ended, printed = await asyncio.to_thread(run, "probe", address, "-c", path, "--json", folder=tmp_path)
    found = json.loads(printed)
    assert (ended, found["status"], found["reason"]) == (exit_status, status, reason)
    assert (found["question"], found["exchanger"], found["address"]) == (address, "mx.test", "127.0.0.1")


# ---------------------------------------------------------------- Exim


@pytest.mark.real("exim4", "dnsmasq")
@pytest.mark.parametrize(
    ("address", "status", "reason", "says"),
    [
        ("bob@exim.test", "pass", "accepted", "250 Accepted"),
        ("alice@exim.test", "fail", "no_such_user", "550 Unrouteable address"),
        ("gone@exim.test", "fail", "disabled", "550 account disabled"),
        ("full@exim.test", "transient", "mailbox_full", "550 mailbox is full"),
        ("grey@exim.test", "transient", "greylist", "451 greylisted"),
        ("later@exim.test", "transient", "deferred", "451 come back"),
        ("bob@elsewhere.test", "error", "policy", "550 relay not permitted"),
    ],
)
async def test_exim(
    address: str, status: str, reason: str, says: str, names: Dnsmasq, tmp_path: Path, exim_mx: EximExchanger
) -> None:
    verdict = await verdict_on(exim_mx, address, names, tmp_path)
    assert (verdict.status.value, verdict.reason, verdict.tls) == (status, reason, True), verdict
    assert says in verdict.message


# ---------------------------------------------------------------- OpenSMTPD


@pytest.mark.real("smtpd", "dnsmasq")
@pytest.mark.parametrize(
    ("address", "status", "reason", "says"),
    [
        ("bob@opensmtpd.test", "pass", "accepted", "250 2.1.5"),
        ("alice@opensmtpd.test", "fail", "no_such_user", "550 "),
        # It has the same words for domains that it does not serve.
        ("bob@elsewhere.test", "fail", "no_such_user", "550 Invalid recipient"),
    ],
)
async def test_opensmtpd(
    address: str, status: str, reason: str, says: str, names: Dnsmasq, tmp_path: Path, opensmtpd_mx: OpenSmtpd
) -> None:
    verdict = await verdict_on(opensmtpd_mx, address, names, tmp_path)
    assert (verdict.status.value, verdict.reason, verdict.tls) == (status, reason, False), verdict
    assert says in verdict.message
