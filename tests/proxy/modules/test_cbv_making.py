"""From the options of an `smtp_cbv` stanza to what asks."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.app import load
from proxy.callback.around import Around
from proxy.callback.lives import Lives
from proxy.callback.manner import ProbeSettings
from proxy.callback.service import CallbackService
from proxy.callback.verdict import Status
from proxy.modules.smtp_cbv.making import STORE_FILE, callbacks_of, lives_of, store_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.store import MEMORY, StoreUrl
from tests.support.worker import LOOPBACK, Names, core, resolver


def options(**given: object) -> SmtpCbvOptions:
    return SmtpCbvOptions(**{"store": MEMORY, **given})  # type: ignore[arg-type]  # by the names of its fields


def made(given: SmtpCbvOptions, settings: CoreOptions | None = None, names: Names | None = None) -> CallbackService:
    return callbacks_of(given, settings or core(), resolver=resolver(names or Names()))


def around(service: CallbackService) -> Around:
    return service.verifier._around


def manner(**given: object) -> ProbeSettings:
    return around(made(options(**given))).manner


# ---------------------------------------------------------------- where verdicts are kept


def test_verdicts_are_kept_where_the_stanza_says(tmp_path: Path) -> None:
    url = StoreUrl("redis", host="cache.test")
    assert store_of(options(store=url), tmp_path) is url


def test_otherwise_in_a_file_of_the_state_folder(tmp_path: Path) -> None:
    assert store_of(options(store=None), tmp_path) == StoreUrl("sqlite", path=str(tmp_path / STORE_FILE))


def test_without_such_a_folder_in_memory_and_the_log_says_so(tmp_path: Path) -> None:
    with capture_logs() as log:
        assert store_of(options(store=None), tmp_path / "gone") is MEMORY
    assert log == [
        {
            "event": "callbacks_in_memory",
            "log_level": "info",
            "reason": f"{tmp_path}/gone is not a writable folder",
        }
    ]


def test_a_secret_is_what_stands_in_its_file_up_to_what_the_hash_takes(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"  " + b"0123456789" * 10 + b"\n")
    service = made(options(store_secret=tmp_path / "secret"))
    assert around(service).cache.keys._secret == b"0123456789" * 6 + b"0123"


# ---------------------------------------------------------------- how long, and how


def test_lives_are_the_options() -> None:
    given = options(
        cache_pass=6, cache_fail=5, cache_transient=1, cache_transient_most=2, cache_error=4, cache_domain=3
    )
    assert lives_of(given) == Lives(passed=6, failed=5, transient=1, transient_most=2, error=4, domain=3)


def test_the_longest_transient_is_no_shorter_than_the_first() -> None:
    assert lives_of(options(cache_transient=600, cache_transient_most=60)).transient_most == 600


def test_the_manner_is_the_options() -> None:
    found = manner(
        port=2525,
        mailfrom_fallback="<callback@ringback.test>",
        null_refused="fail",
        catchall=True,
        bind_address=("192.0.2.1", "2001:db8::1"),
        tls="no",
    )
    assert (found.helo, found.port, found.fallback) == ("ringback.test", 2525, "callback@ringback.test")
    assert (found.null_refused, found.catchall, found.tls) == (Status.FAIL, True, None)
    assert found.bind == {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def test_by_default_tls_takes_any_certificate_and_no_other_sender_is_given() -> None:
    found = manner()
    assert found.tls is not None
    assert (found.tls.check_hostname, found.tls.verify_mode.name) == (False, "CERT_NONE")
    assert (found.fallback, found.null_refused, found.catchall, dict(found.bind)) == ("", Status.ERROR, False, {})


@pytest.mark.parametrize(
    ("given", "sender"), [("", ""), ("<>", ""), ("<a@b.test>", "a@b.test"), ("a@b.test", "a@b.test")]
)
def test_the_sender_may_stand_in_brackets(given: str, sender: str) -> None:
    assert made(options(mailfrom=given)).verifier._sender == sender


# ---------------------------------------------------------------- ourselves


def listening(folder: Path, *endpoints: str) -> CoreOptions:
    path = folder / "r.conf"
    path.write_text(f'ESMTP_Listener = ( {" ".join(endpoints)} )\nHostname = "ringback.test"\nGateway = "192.0.2.1"\n')
    return load(path)[0].core


@pytest.mark.parametrize(
    ("endpoints", "address", "us"),
    [
        (["127.0.0.1:25"], "127.0.0.1", True),
        (["127.0.0.1:25"], "127.0.0.2", False),
        (["127.0.0.1:2525"], "127.0.0.1", False),
        (["0.0.0.0:25"], "127.0.0.1", True),
        (["0.0.0.0:25"], "127.0.0.2", True),
        (["0.0.0.0:25"], "192.0.2.77", False),
        (["0.0.0.0:2525"], "127.0.0.1", False),
        (["192.0.2.9:25"], "192.0.2.9", True),
    ],
)
async def test_an_exchanger_at_one_of_our_listeners_is_us(
    tmp_path: Path,
    endpoints: list[str],
    address: str,
    us: bool,  # noqa: FBT001 - a parameter
) -> None:
    service = made(options(), listening(tmp_path, *endpoints))
    assert around(service).finder._is_us(address) is us


async def test_a_domain_that_leads_to_our_own_listener_is_a_loop(tmp_path: Path) -> None:
    names = Names(mx={"sender.test": [(1, "mx.test")]}, hosts={"mx.test": ["127.0.0.1"]})
    given = options(allow_networks=(LOOPBACK,))
    service = made(given, listening(tmp_path, "127.0.0.1:25"), names)
    verdict = await service.verifier.verify("alice@sender.test")
    assert (verdict.status, verdict.reason) == (Status.ERROR, "loop")
    await service.close()
