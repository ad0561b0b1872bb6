"""Which upstream takes a recipient's mail, and in which order its addresses are tried."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

import pytest
import trustme

from config.settings import Settings
from proxy.app import load
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain
from proxy.options.route import Route
from proxy.upstream.routes import Router
from proxy.upstream.tls import context_of
from tests.support.worker import Names, resolver, unavailable


def settings(*lines: str) -> Settings:
    """Return the settings of a configuration with these lines."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(['ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "ringback.test"', *lines]) + "\n")
        file.flush()
        return load(Path(file.name))[0].settings


def router(*lines: str) -> Router:
    return Router(settings(*lines))


GATEWAY = 'Gateway = "192.0.2.1"'

# ---------------------------------------------------------------- which upstream


def test_without_scopes_every_domain_has_the_one_upstream() -> None:
    subject = router(GATEWAY)
    assert subject.of_domain("a.test") is subject.of_domain("") is subject.default
    assert subject.default.name == "192.0.2.1:25"
    assert subject.named() == [subject.default]


def test_equal_answers_are_one_object_and_different_ones_are_not() -> None:
    subject = router(
        GATEWAY,
        'Domain "one.test" { Gateway = "192.0.2.2" }',
        'Domain "two.test" { Gateway = "192.0.2.2" }',
        'Domain "three.test" { Gateway = "192.0.2.2:26" }',
        'Domain "four.test" { Gateway = "192.0.2.1" }',
        'Domain "five.test" { RCPTTO_Timeout = 1 }',
    )
    assert subject.of_domain("one.test") is subject.of_domain("TWO.test")
    assert subject.of_domain("three.test") is not subject.of_domain("one.test")
    assert subject.of_domain("four.test") is subject.of_domain("elsewhere.test") is subject.default
    assert subject.of_domain("five.test") is not subject.default
    assert len(subject.named()) == 4


def test_a_recipient_without_a_domain_has_the_default_even_where_an_expression_matches_everything() -> None:
    subject = router(GATEWAY, 'Domain "/.*/" { Gateway = "192.0.2.2" }')
    assert subject.of_domain("") is subject.default
    assert subject.of_domain("any.test").name == "192.0.2.2:25"


def test_routes_of_a_domain_count_where_the_domain_says_so_itself_although_a_gateway_is_set_for_all() -> None:
    """Of two options that say where mail goes, the one that was set closer to the recipient decides."""
    subject = router(GATEWAY, 'Domain "routed.test" { Routes = ( "192.0.2.9" ) }')
    assert subject.of_domain("routed.test").name == "192.0.2.9:25"
    assert subject.default.name == "192.0.2.1:25"


def test_a_gateway_counts_and_routes_do_not_where_both_are_set_in_one_scope() -> None:
    assert router(GATEWAY, 'Routes = ( "192.0.2.9" )').default.name == "192.0.2.1:25"


@pytest.mark.parametrize(
    ("lines", "name", "lmtp"),
    [
        ((GATEWAY,), "192.0.2.1:25", False),
        (('Gateway = "192.0.2.1:26"',), "192.0.2.1:26", False),
        ((GATEWAY, "Remote_SMTP_Port = 27"), "192.0.2.1:27", False),
        ((GATEWAY, "Delivery_Method = LMTP"), "192.0.2.1:2003", True),
        ((GATEWAY, "Delivery_Method = LMTP", "LMTP_Port = 24"), "192.0.2.1:24", True),
        (('Routes = ( "a.test" "smtp://b.test?port=26" )',), "a.test:25,b.test:26", False),
    ],
)
def test_the_port_is_the_routes_own_or_the_options(lines: tuple[str, ...], name: str, *, lmtp: bool) -> None:
    upstream = router(*lines).default
    assert (upstream.name, upstream.lmtp) == (name, lmtp)


# ---------------------------------------------------------------- a script's gateway


@pytest.mark.parametrize(
    ("gateway", "route"),
    [
        ("192.0.2.7", Route("192.0.2.7")),
        ("192.0.2.7:26", Route("192.0.2.7", 26)),
        ("mx.test", Route("mx.test")),
        ("mx.test:26", Route("mx.test", 26)),
        ("2001:db8::7", Route("2001:db8::7")),
        ("[2001:db8::7]", Route("2001:db8::7")),
        ("[2001:db8::7]:26", Route("2001:db8::7", 26)),
    ],
)
def test_a_detour_takes_another_host_and_everything_else_of_the_upstream(gateway: str, route: Route) -> None:
    subject = router(GATEWAY, "RCPTTO_Timeout = 7")
    detour = subject.by_way_of(gateway, subject.default)
    assert detour.routes == (route,)
    assert (detour.policy, detour.helo) == (subject.default.policy, "ringback.test")
    assert subject.by_way_of(gateway, subject.default) is detour


def test_detours_are_no_upstreams_that_the_configuration_names_and_do_not_pile_up() -> None:
    subject = router(GATEWAY)
    for number in range(5000):
        subject.by_way_of(f"host{number}.test", subject.default)
    assert subject.named() == [subject.default]
    assert len(subject._detours) < 5000


# ---------------------------------------------------------------- addresses


async def test_hosts_come_by_preference_and_those_of_one_preference_in_changing_order() -> None:
    upstream = router(
        'Routes = ( "smtp://192.0.2.3?pref=20" "smtp://192.0.2.1?pref=10" "smtp://192.0.2.2?pref=10&port=26" )'
    ).default
    seen = set()
    for _ in range(100):
        first, second, last = await upstream.addresses(resolver())
        assert {first, second} == {
            ("192.0.2.1", 25, "192.0.2.1", (10, 0)), ("192.0.2.2", 26, "192.0.2.2", (10, 0)),
        }  # fmt: skip
        assert last == ("192.0.2.3", 25, "192.0.2.3", (20, 0))
        seen.add(first)
    assert len(seen) == 2


async def test_exchangers_come_in_the_order_of_their_preference_with_the_routes_port() -> None:
    names = Names(
        mx={"site.test": [(20, "b.test"), (10, "a.test")]},
        hosts={"a.test": ["192.0.2.1", "2001:db8::1"], "b.test": ["192.0.2.2"]},
    )
    upstream = router('Routes = ( "smtp://site.test?type=mx&port=26" )').default
    assert await upstream.addresses(resolver(names)) == [
        ("192.0.2.1", 26, "a.test", (0, 10)), ("2001:db8::1", 26, "a.test", (0, 10)),
        ("192.0.2.2", 26, "b.test", (0, 20)),
    ]  # fmt: skip


@pytest.mark.parametrize("missing", [NoSuchDomain("a.test"), unavailable("a.test")])
async def test_a_host_that_cannot_be_resolved_is_passed_over(missing: Exception) -> None:
    names = Names(
        mx={"site.test": [(10, "a.test"), (20, "b.test")]}, hosts={"a.test": missing, "b.test": ["192.0.2.2"]}
    )
    upstream = router('Routes = ( "smtp://site.test?type=mx" )').default
    assert await upstream.addresses(resolver(names)) == [("192.0.2.2", 25, "b.test", (0, 20))]
    upstream = router('Routes = ( "a.test" "b.test" )').default
    assert await upstream.addresses(resolver(names)) == [("192.0.2.2", 25, "b.test", (0, 0))]


async def test_where_nothing_can_be_resolved_there_is_no_address() -> None:
    upstream = router('Routes = ( "a.test" "b.test" )').default
    try:
        found = await upstream.addresses(resolver())
    except (NoSuchDomain, DnsUnavailable):
        found = []
    assert found == []


@pytest.mark.parametrize("mx", [[(0, "")], [(0, ""), (10, "a.test")]])
async def test_a_name_that_takes_no_mail_leads_nowhere(mx: list[tuple[int, str]]) -> None:
    names = Names(mx={"site.test": mx}, hosts={"a.test": ["192.0.2.1"], "site.test": ["192.0.2.1"]})
    with pytest.raises(NoSuchDomain, match=r"^site\.test takes no mail \(null MX\)$"):
        await router('Routes = ( "smtp://site.test?type=mx" )').default.addresses(resolver(names))


async def test_a_name_without_exchangers_is_its_own() -> None:
    names = Names(mx={"site.test": []}, hosts={"site.test": ["192.0.2.1"]})
    upstream = router('Routes = ( "smtp://site.test?type=mx" )').default
    assert await upstream.addresses(resolver(names)) == [("192.0.2.1", 25, "site.test", (0, 0))]


async def test_a_unix_socket_is_its_own_address_and_belongs_to_no_host() -> None:
    upstream = router(GATEWAY, "Delivery_Method = LMTP", 'Domain "here.test" { Gateway = "unix:/run/lmtp" }')
    here = upstream.of_domain("here.test")
    assert (here.name, here.lmtp) == ("unix:/run/lmtp", True)
    assert await here.addresses(resolver()) == [("/run/lmtp", 0, "", (0, 0))]


def test_a_script_cannot_name_a_unix_socket() -> None:
    """It may take the name out of a message."""
    subject = router(GATEWAY)
    (route,) = subject.by_way_of("unix:/run/lmtp", subject.default).routes
    assert not route.is_socket
    (route,) = subject.by_way_of("/run/lmtp", subject.default).routes
    assert not route.is_socket


# ---------------------------------------------------------------- TLS


@pytest.mark.parametrize(
    ("verify", "mode", "checks"),
    [("no", ssl.CERT_NONE, False), ("ca", ssl.CERT_REQUIRED, False), ("host", ssl.CERT_REQUIRED, True)],
)
def test_what_is_verified_follows_the_option(verify: str, mode: ssl.VerifyMode, *, checks: bool) -> None:
    context = context_of(router(GATEWAY, "TLS = required", f"TLS_Verify = {verify}").default.policy)
    assert (context.verify_mode, context.check_hostname) == (mode, checks)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_our_certificate_and_authority_are_loaded_and_a_missing_file_is_an_error(tmp_path: Path) -> None:
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(tmp_path / "ca.pem")
    issuer.issue_cert("ringback.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")
    policy = router(
        GATEWAY, "TLS = required", "TLS_Verify = ca", f'TLS_CA = "{tmp_path}/ca.pem"',
        f'TLS_Certificate = "{tmp_path}/own.pem"',
    ).default.policy  # fmt: skip
    assert len(context_of(policy).get_ca_certs()) == 1
    gone = policy.model_copy(update={"tls_ca": tmp_path / "gone.pem"})
    with pytest.raises(FileNotFoundError):
        context_of(gone)


def test_only_the_protocols_that_are_named_are_spoken_to_the_next_hop() -> None:
    context = context_of(router(GATEWAY, "TLS = required", 'TLS_Protocols = "+ALL:-TLSv1.3"').default.policy)
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


BINDINGS = (
    'Gateway = "usual.test"',
    'Binding_Group "mailers" {',
    '  Binding "a" { Gateway = "a.test"  EHLO_Hostname = "a.mail.test"  Bind_Address = ( 192.0.2.7 2001:db8::7/64 ) }',
    '  Binding "b" { Domain "x.test" { Gateway = "bx.test" } }',
    "  TLS = required",
    "}",
)


def test_a_binding_has_an_upstream_of_its_own_with_what_it_and_its_group_set() -> None:
    found = router(*BINDINGS)
    usual, own = found.of_domain("x.test"), found.bound("a", "x.test")
    assert (usual.name, usual.binding, usual.policy.tls) == ("usual.test:25", "", "no")
    assert (own.name, own.binding, own.helo, own.policy.tls) == ("a.test:25", "a", "a.mail.test", "required")
    assert found.bound("a", "y.test") is own
    assert found.bound("b", "x.test").name == "bx.test:25"
    assert found.bound("b", "y.test").name == "usual.test:25"
    assert found.bound("b", "y.test") is not usual
    assert found.by_way_of("192.0.2.1", own).binding == "a"


def test_the_source_address_is_the_one_of_the_other_ends_family() -> None:
    own = router(*BINDINGS).bound("a", "")
    assert own.source("198.51.100.1") == "192.0.2.7"
    assert own.source("2001:db8::1") == "2001:db8::7"
    assert own.source("/run/lmtp") == ""


def test_bindings_are_upstreams_that_the_configuration_names() -> None:
    names = {(each.name, each.binding) for each in router(*BINDINGS).named()}
    assert names == {("usual.test:25", ""), ("a.test:25", "a"), ("usual.test:25", "b"), ("bx.test:25", "b")}


def test_the_binding_called_default_is_that_of_mail_for_which_none_is_chosen() -> None:
    found = router('Gateway = "usual.test"', 'Binding "default" { Gateway = "default.test" }')
    assert found.default.name == "default.test:25"
    assert found.of_domain("x.test") is found.default
