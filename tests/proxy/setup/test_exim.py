"""What `config init --from` takes from an Exim configuration, as Exim's specification reads it."""

# ruff: noqa: E501 — a configuration is on one line with what it means

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.setup.answers import OWN_ADDRESS, Found
from tests.support.foreign import found_in

ROUTERS = """
begin acl
acl_check_rcpt:
  accept domains = +local_domains : +relay_to_domains
begin routers
to_inside:
  driver = manualroute
  domains = +relay_to_domains
  route_list = %s
  transport = remote_smtp
"""


def found(folder: Path, text: str, **files: str) -> Found:
    return found_in(folder, "exim4.conf", text, **files)


def test_a_gateway_takes_domains_next_hop_and_networks(tmp_path: Path) -> None:
    it = found(
        tmp_path,
        "primary_hostname = mx.example.org\ndomainlist local_domains = @ : localhost\n"
        "domainlist relay_to_domains = example.org : *.example.net\n"
        "hostlist relay_from_hosts = localhost : 192.0.2.0/24 : <missing>\nmessage_size_limit = 50M\n"
        + ROUTERS
        % "* mail.example.org::2525 byname",
    )
    assert it.domains == ("mx.example.org", "example.org", "*.example.net")
    assert (it.next_hop, it.hostname, it.largest) == ("mail.example.org:2525", "mx.example.org", 50 << 20)
    assert it.networks == ("192.0.2.0/24",)
    assert any("has this machine, 127.0.0.1 ::1" in note for note in it.notes)


def test_an_exim_that_delivers_a_domain_itself_is_the_next_hop(tmp_path: Path) -> None:
    it = found(
        tmp_path,
        "domainlist local_domains = @ : example.org\nhostlist relay_from_hosts =\n" + ROUTERS % "* smart.example",
    )
    assert (it.domains, it.next_hop) == (("own.example.org", "example.org"), OWN_ADDRESS)
    assert any("Exim sends mail for other domains to smart.example" in note for note in it.notes)


@pytest.mark.parametrize(
    ("written", "domains"),
    [
        ("domainlist local_domains = a.example:b.example", ("a.example", "b.example")),
        ("domainlist local_domains = <; a.example ; b.example", ("a.example", "b.example")),
        ("domainlist local_domains = a.example : \\\n   # no\n   b.example", ("a.example", "b.example")),
        ("HERE = a.example\n.ifdef HERE\ndomainlist local_domains = HERE\n.else\ndomainlist local_domains = no.example\n.endif", ("a.example",)),
        (".ifndef NONE\ndomainlist local_domains = a.example\n.endif", ("a.example",)),
        (".ifdef NONE\ndomainlist local_domains = no.example\n.elifndef NONE\ndomainlist local_domains = a.example\n.endif", ("a.example",)),
        ("domainlist more = b.example\ndomainlist local_domains = a.example : +more : !c.example", ("a.example", "b.example")),
        ("domainlist local_domains = lsearch;/etc/exim4/keys : /etc/exim4/plain", ("a.example", "b.example", "c.example")),
        ("domainlist local_domains = ${lookup mysql{x}} : a.example : ^re$ : dsearch;/x", ("a.example",)),
        ("domainlist our_domains = a.example\ndomainlist theirs = b.example", ("a.example", "b.example")),
        ('domainlist local_domains = "a.example : b.example"', ("a.example", "b.example")),
        ("domainlist local_domains = <\\n a.example \\n b.example", ("a.example", "b.example")),
        ("domainlist local_domains = dsearch;/etc/exim4/virtual : a.example", ("v.example", "a.example")),
        (".include inner\n", ("a.example",)),
        (".include_if_exists gone\ndomainlist local_domains = a.example", ("a.example",)),
    ],
)  # fmt: skip
def test_domains_are_read_as_exim_reads_them(tmp_path: Path, written: str, domains: tuple[str, ...]) -> None:
    files = {
        "keys": "a.example: x\nb.example y\n",
        "plain": "# no\nc.example\n",
        "inner": "domainlist local_domains = a.example\n",
    }
    (tmp_path / "virtual").mkdir()
    (tmp_path / "virtual/v.example").touch()
    assert found(tmp_path, f"{written}\nbegin acl\n", **files).domains == domains


@pytest.mark.parametrize(
    ("written", "networks"),
    [
        ("192.0.2.1 : ::::2 : 10.0.0.0/8", ("192.0.2.1", "::2", "10.0.0.0/8")),
        ("<; 127.0.0.1 ; ::1 ; 2001:db8::/32", ("2001:db8::/32",)),
        ("10.0.0.1/8", ("10.0.0.0/8",)),
        ("@ : @[] : 10.0.0.1", ("10.0.0.1",)),
        ("0.0.0.0/0 : * : some.host.example : 10.0.0.1", ("10.0.0.1",)),
    ],
)
def test_networks_are_read_as_exim_reads_them(tmp_path: Path, written: str, networks: tuple[str, ...]) -> None:
    text = f"domainlist local_domains = a.example\nhostlist relay_from_hosts = {written}\nbegin acl\n"
    assert found(tmp_path, text).networks == networks


@pytest.mark.parametrize(
    ("rules", "hop", "routes"),
    [
        ("* 10.0.0.5", "10.0.0.5", ()),
        ("* [2001:db8::5]::26", "[2001:db8::5]:26", ()),
        ("* one.internal:two.internal byname", "one.internal", ()),
        ("a.example one.internal ; b.example two.internal::26", "one.internal", (("b.example", "two.internal:26"),)),
        ("* $host", OWN_ADDRESS, ()),
    ],
)
def test_the_next_hop_of_relayed_domains(tmp_path: Path, rules: str, hop: str, routes: object) -> None:
    it = found(
        tmp_path,
        "domainlist local_domains = @\ndomainlist relay_to_domains = a.example : b.example\n" + ROUTERS % rules,
    )
    assert (it.next_hop, it.routes) == (hop, routes)


@pytest.mark.parametrize(
    ("routers", "hop", "routes"),
    [
        ((("! +local_domains : ! +relay_to_domains", "* isp.example"), ("+relay_to_domains", "* 10.0.0.5")), "10.0.0.5", ()),
        ((("b.example", "* 10.0.0.6"), ("! +local_domains", "* 10.0.0.5")), "10.0.0.5", (("b.example", "10.0.0.6"),)),
        ((("+local_domains", "* 10.0.0.6"), ("*", "!+local_domains 10.0.0.5")), "10.0.0.5", ()),
    ],
)  # fmt: skip
def test_a_router_counts_for_the_domains_that_its_condition_lets_in(
    tmp_path: Path, routers: tuple[tuple[str, str], ...], hop: str, routes: object
) -> None:
    text = "domainlist local_domains = @\ndomainlist relay_to_domains = a.example : b.example\nbegin routers\n"
    for number, (domains, rule) in enumerate(routers):
        text += f"r{number}:\n  driver = manualroute\n  domains = {domains}\n  route_list = {rule}\n"
    it = found(tmp_path, text)
    assert (it.next_hop, it.routes) == (hop, routes)


def test_an_exim_that_delivers_itself_is_asked_at_its_port(tmp_path: Path) -> None:
    text = "domainlist local_domains = a.example\ndaemon_smtp_ports = 2526 : 587\nbegin acl\n"
    assert found(tmp_path, text).next_hop == "127.0.0.1:2526"


def test_debians_answers_are_read(tmp_path: Path) -> None:
    it = found(
        tmp_path,
        "dc_eximconfig_configtype='smarthost'\ndc_other_hostnames='example.org;example.net'\ndc_relay_domains=''\n"
        "dc_relay_nets='192.0.2.0/24 ; 2001:db8::/32'\ndc_smarthost='isp.example::587'\n",
    )
    assert it.domains == ("own.example.org", "example.org", "example.net")
    assert it.networks == ("192.0.2.0/24", "2001:db8::/32")
    assert it.next_hop == OWN_ADDRESS
    relay = "dc_eximconfig_configtype='satellite'\ndc_other_hostnames=''\ndc_relay_domains='a.example'\ndc_smarthost='in.example::26'\n"
    assert found(tmp_path, relay).next_hop == "in.example:26"
