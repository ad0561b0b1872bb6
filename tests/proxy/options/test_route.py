"""One entry of the option Routes: what it may look like, and what is said of what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.app import load
from proxy.base.rejected import ConfigurationRejected
from proxy.options.route import Route

LINES = 'ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "ringback.test"\n'


def read(folder: Path, *routes: str) -> tuple[Route, ...]:
    path = folder / "r.conf"
    path.write_text(LINES + "Routes = ( {} )\n".format(" ".join(f'"{each}"' for each in routes)))
    return load(path)[0].core.routes


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("mx.test", Route("mx.test")),
        ("mx.test:2525", Route("mx.test", 2525)),
        ("192.0.2.1", Route("192.0.2.1")),
        ("[2001:db8::1]:25", Route("2001:db8::1", 25)),
        ("smtp://mx.test", Route("mx.test")),
        ("smtp://mx.test:26?pref=10", Route("mx.test", 26, 10)),
        ("smtp://mx.test?pref=10&port=27&ttl=300&type=a", Route("mx.test", 27, 10)),
        ("smtp://site.test?type=mx", Route("site.test", None, 0, by_mx=True)),
        ("smtp://[2001:db8::1]?port=26", Route("2001:db8::1", 26)),
        ("unix:/run/dovecot/lmtp", Route("/run/dovecot/lmtp", is_socket=True)),
        ("unix:///run/dovecot/lmtp", Route("/run/dovecot/lmtp", is_socket=True)),
        ("unix:/run/dovecot/lmtp?pref=20", Route("/run/dovecot/lmtp", None, 20, is_socket=True)),
    ],
)
def test_a_route_is_a_host_with_its_port_preference_and_kind(tmp_path: Path, text: str, route: Route) -> None:
    assert read(tmp_path, text) == (route,)


def test_routes_stay_in_written_order(tmp_path: Path) -> None:
    assert [each.host for each in read(tmp_path, "b.test", "smtp://a.test?pref=5", "c.test")] == [
        "b.test", "a.test", "c.test",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://mx.test",
        "smtp://",
        "smtp://?pref=1",
        "smtp://mx.test?colour=red",
        "smtp://mx.test?pref=high",
        "smtp://mx.test?port=mail",
        "smtp://mx.test:99999",
        "smtp://mx.test?port=99999",
        "smtp://mx.test?port=0",
        "mx.test:0",
        "smtp://mx.test?type=txt",
        "smtp://user@mx.test",
        "smtp://mx.test/path",
        "mx test",
        "unix:",
        "unix:/",
        "unix:run/lmtp",
        "unix:/run/",
        "unix:/run/lmtp?port=24",
        "unix:/run/lmtp?pref=-1",
        "unix:/" + "x" * 107,
        "UNIX:/run/lmtp",
        "lmtp:///run/lmtp",
    ],
)
def test_what_is_no_route_is_an_error_at_its_place(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        read(tmp_path, "first.test", text)
    (found,) = rejected.value.diagnostics
    assert found.message.endswith("is not a route")
    assert found.hint == ("write host, host:port, smtp://host?pref=10&port=25&type=mx, or unix:/path?pref=10")
    assert found.span is not None
    assert (found.span.line, found.span.column) == (3, 25)


def gateway(folder: Path, text: str) -> Route | None:
    path = folder / "g.conf"
    path.write_text(LINES + f'Gateway = "{text}"\n')
    return load(path)[0].core.gateway


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("mx.test", Route("mx.test")),
        ("mx.test:2525", Route("mx.test", 2525)),
        ("[2001:db8::1]:25", Route("2001:db8::1", 25)),
        ("unix:/run/dovecot/lmtp", Route("/run/dovecot/lmtp", is_socket=True)),
    ],
)
def test_a_gateway_is_a_host_or_a_unix_socket(tmp_path: Path, text: str, route: Route) -> None:
    assert gateway(tmp_path, text) == route


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("unix:lmtp", "`unix:lmtp` is not a Unix socket"),
        ("unix:/run/lmtp?pref=10", "`unix:/run/lmtp?pref=10` is not a Unix socket"),
        ("mx.test:0", "`mx.test:0` is not a host"),
        ("smtp://mx.test", "`smtp://mx.test` is not a host"),
    ],
)
def test_what_is_no_gateway_is_an_error(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationRejected) as rejected:
        gateway(tmp_path, text)
    assert [each.message for each in rejected.value.diagnostics] == [told]


@pytest.mark.parametrize(
    "text",
    ["mx.test", "mx.test:26", "[2001:db8::1]:26", "smtp://mx.test:26?pref=10", "smtp://site.test?pref=5&type=mx",
     "unix:/run/lmtp", "unix:/run/lmtp?pref=20"],
)  # fmt: skip
def test_a_route_is_shown_as_it_would_be_written(tmp_path: Path, text: str) -> None:
    (route,) = read(tmp_path, text)
    assert str(route) == text


@pytest.mark.parametrize("text", ["__mx__", "apn://push.test?port=2195", "smpp://smsc.test", "xfer://192.0.2.9?port=1"])
def test_a_route_of_momentum_that_is_not_smtp_is_left_out_with_a_warning(tmp_path: Path, text: str) -> None:
    assert [str(each) for each in read(tmp_path, text, "a.test")] == ["a.test"]
