"""What `config init --from` takes from a main.cf, as postconf(5) reads it."""

# ruff: noqa: E501 — a configuration is on one line with what it means

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proxy.setup.answers import OWN_ADDRESS, Found
from proxy.setup.postfix import _MainCf, _parameters
from proxy.setup.tables import Absent, Files
from tests.support.foreign import found_in
from tests.support.programs import find_program


def found(folder: Path, text: str, **files: str) -> Found:
    return found_in(folder, "main.cf", text, **files)


def test_a_gateway_takes_domains_next_hop_and_networks(tmp_path: Path) -> None:
    it = found(
        tmp_path,
        "myhostname = mx.example.org\nmydestination = $myhostname, localhost.$mydomain, localhost\n"
        "relay_domains = example.org, example.net\nrelayhost = [mail.example.org]:2525\n"
        "mynetworks = 127.0.0.0/8 [::1]/128 192.0.2.0/24\nmessage_size_limit = 52428800\n",
    )
    assert it.domains == ("example.org", "*.example.org", "example.net", "*.example.net")
    assert (it.next_hop, it.hostname, it.largest) == ("mail.example.org:2525", "mx.example.org", 52428800)
    assert it.networks == ("192.0.2.0/24",)
    assert [note[:41] for note in it.notes] == ["mynetworks has this machine, 127.0.0.0/8 "]


def test_a_postfix_that_delivers_a_domain_itself_is_the_next_hop_and_its_smarthost_is_not(tmp_path: Path) -> None:
    it = found(
        tmp_path,
        "mydomain = example.org\nmydestination = $mydomain, $myhostname\nrelayhost = [out.example.org]:587\n"
        "relay_domains = other.example\n",
    )
    assert it.domains == ("example.org", "other.example", "*.other.example", "own.example.org")
    assert it.next_hop == OWN_ADDRESS
    assert any("[out.example.org]:587, which is not the next hop" in note for note in it.notes)
    assert any("Postfix delivers mail for example.org itself" in note for note in it.notes)


@pytest.mark.parametrize(
    ("written", "domains"),
    [
        ("virtual_mailbox_domains = a.example b.example", ("a.example", "b.example")),
        ("virtual_alias_maps = hash:/etc/postfix/virtual", ("c.example",)),  # virtual_alias_domains is its default
        ("virtual_alias_domains = texthash:virtual", ("c.example",)),
        ("virtual_mailbox_domains = proxy:lmdb:$config_directory/virtual", ("c.example",)),
        ("mydestination =\n  # not this one\n  a.example,\n\n  b.example", ("a.example", "b.example")),
        ("mydestination = old.example\nmydestination = a.example", ("a.example",)),
        ("mydestination = A.Example, !b.example, b.example, localhost", ("a.example",)),
        ("mydestination = /list", ("a.example", "b.example")),
        ("x = a.example\nmydestination = ${x} $(x) ${nothing?b.example} ${nothing:d.example}", ("a.example", "d.example")),
        ("x = yes\nmydestination = ${x?{a.example}:{b.example}} ${y?{c.example}:{d.$x.example}}", ("a.example", "d.yes.example")),
        ("mydestination = $mydestination a.example", ("a.example",)),
        ("virtual_mailbox_domains = mysql:/etc/postfix/sql.cf a.example", ("a.example",)),
        ("mydestination = [192.0.2.1] bad..example a.example *", ("a.example",)),
        ("mydestination = inline:{a.example=OK, {b.example = x y}}", ("a.example", "b.example")),
        ("# x\u2028mydestination = b.example\nmydestination = a.example", ("a.example",)),
        ("mydestination = a.example\r", ("a.example",)),
        ("mydestination = a.example ${{$x} == {y} ? {b.example} : {c.example}}", ("a.example",)),
        ("mydestination = münchen.example", ("münchen.example",)),
    ],
)  # fmt: skip
def test_domains_are_read_as_postfix_reads_them(tmp_path: Path, written: str, domains: tuple[str, ...]) -> None:
    tables = {
        "virtual": "c.example  anything\n# no.example x\nuser@c.example someone\n",
        "list": "a.example\nb.example\n",
    }
    taken = found(tmp_path, f"{written}\n", **tables).domains
    assert tuple(each for each in taken if each != "own.example.org") == domains


def test_what_only_postfix_can_read_is_a_note(tmp_path: Path) -> None:
    it = found(
        tmp_path,
        "mydestination = a.example\nvirtual_mailbox_domains = mysql:/x.cf, hash:/gone\nmynetworks = 0.0.0.0/0 !10.0.0.1 pcre:/y\n",
    )
    for words in (
        "mysql:/x.cf: only Postfix",
        "gone is not there",
        "0.0.0.0/0: it is not a network that may",
        "pcre:/y",
        "excludes",
    ):
        assert any(words in note for note in it.notes), (words, it.notes)
    assert it.networks == ()


@pytest.mark.parametrize(
    ("written", "hop", "routes"),
    [
        ("relay_transport = smtp:[10.0.0.5]:26", "10.0.0.5:26", ()),
        ("relayhost = [2001:db8::5]:smtp", "[2001:db8::5]:25", ()),
        ("relayhost = [mail.internal]", "mail.internal", ()),
        ("transport_maps = hash:/etc/postfix/transport", "10.0.0.7:2525", (("*.b.example", "b.internal"), ("b.example", "b.internal"))),
        ("transport_maps = hash:transport\nrelayhost = [10.0.0.5]", "10.0.0.5", (("a.example", "10.0.0.7:2525"), ("*.b.example", "b.internal"), ("b.example", "b.internal"))),
        ("", OWN_ADDRESS, ()),
        ("relay_transport = lmtp:unix:/x\nrelayhost = [isp.example]", OWN_ADDRESS, ()),
        ("transport_maps = hash:/star\nrelayhost = [isp.example]", "10.0.0.9", (("b.example", "10.0.0.8:26"),)),
        ("transport_maps = inline:{ c.example=smtp:[10.0.0.8], {* = smtp:[10.0.0.9]} }", "10.0.0.9", (("c.example", "10.0.0.8"),)),
    ],
)  # fmt: skip
def test_the_next_hop_of_relayed_domains(tmp_path: Path, written: str, hop: str, routes: object) -> None:
    table = "a.example smtp:[10.0.0.7]:2525\n.b.example  relay:[b.internal]\nb.example :[b.internal]\nc.example lmtp:unix:/x\nz.example smtp:[no]\n"
    it = found(
        tmp_path,
        f"relay_domains = a.example b.example c.example\n{written}\n",
        transport=table,
        star="* smtp:[10.0.0.9]\nb.example smtp:[10.0.0.8]:26\n",
    )
    assert (it.next_hop, it.routes) == (hop, routes)


@pytest.mark.parametrize(
    ("written", "master", "hop"),
    [
        ("", "smtp inet n - y - - smtpd\n", "127.0.0.1:25"),
        ("", "#smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n127.0.0.1:2526 inet n - y - - smtpd\n  -o x=y\n", "127.0.0.1:2526"),
        ("", "2526 inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd\n", "127.0.0.1:2526"),
        ("", "0.0.0.0:25 inet n - y - - smtpd\n", "127.0.0.1:25"),
        ("", "[::]:2526 inet n -\n  n - - smtpd\n", "127.0.0.1:2526"),
        ("inet_interfaces = 192.0.2.1, 2001:db8::1", "smtp inet n - y - - smtpd\n", "192.0.2.1:25"),
        ("inet_interfaces = loopback-only", "", "127.0.0.1:25"),
        ("inet_interfaces = $myhostname, localhost", "", "127.0.0.1:25"),
        ("inet_interfaces = 192.0.2.1 127.0.0.1", "", "127.0.0.1:25"),
        ("inet_interfaces = 2001:db8::1", "", "[2001:db8::1]:25"),
    ],
)  # fmt: skip
def test_a_postfix_that_delivers_itself_is_asked_where_it_listens(
    tmp_path: Path, written: str, master: str, hop: str
) -> None:
    assert found(tmp_path, f"mydestination = a.example\n{written}\n", **{"master.cf": master}).next_hop == hop


def test_a_host_without_brackets_is_noted_since_postfix_looks_up_its_exchangers(tmp_path: Path) -> None:
    it = found(tmp_path, "relay_domains = a.example\nrelayhost = isp.example\n")
    assert it.next_hop == "isp.example"
    assert any('Routes = ( "smtp://isp.example?type=mx" )' in note for note in it.notes)


def test_subdomains_of_relay_domains_follow_the_parameter(tmp_path: Path) -> None:
    it = found(tmp_path, "relay_domains = a.example .b.example\nparent_domain_matches_subdomains =\nrelayhost = [x]\n")
    assert it.domains == ("a.example", "*.b.example")


def test_parameters_that_name_each_other_come_to_an_end(tmp_path: Path) -> None:
    assert found(tmp_path, "a = $b\nb = $a ${a?{$b}}\nmydestination = $a x.example\n").domains == ("x.example",)


@pytest.mark.parametrize("text", ["", "\0\1", "no equals sign"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Absent, match="neither a Postfix"):
        found(tmp_path, text)


ODD = """\
# a comment
mydomain = example.org
myhostname = mx.$mydomain
empty =
one = a, b
  # a comment within
  c

  d $(mydomain) ${mydomain}
two = ${one?{yes $mydomain}:{no}} ${empty?{yes}:{no}} ${empty:fallback} ${one:fallback} ${one?text}
two = again $two_not_there x
three = $$dollar ${two}
four = ${empty?{a}:{${one?{inner}:{x}}}}
relay_domains = $three $four
mydestination = $myhostname
mynetworks = 127.0.0.0/8
   [::1]/128
"""


@pytest.mark.real("postfix")
def test_values_are_those_that_postconf_prints(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(ODD)
    (tmp_path / "master.cf").write_text("")
    names = ("myhostname", "one", "two", "three", "four", "relay_domains", "mydestination", "mynetworks")
    command = [find_program("postconf"), "-c", str(tmp_path), "-x", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    main = _MainCf({"myhostname": "x", **_parameters(ODD)}, Files(tmp_path))
    printed = dict(line.split(" =", 1) for line in done.stdout.splitlines())
    assert {name: main.value(name).split() for name in names} == {name: printed[name].split() for name in names}


def test_parameters_that_name_each_other_many_times_do_not_grow_without_an_end(tmp_path: Path) -> None:
    laughs = "".join(f"a{at} = {f'$a{at - 1}' * 10}\n" for at in range(1, 19))
    it = found(
        tmp_path, f"myhostname = mx.example.org\nrelay_domains = example.org\na0 = x\n{laughs}mynetworks = $a18\n"
    )
    assert it.domains == ("example.org", "*.example.org")


def test_a_size_of_thousands_of_digits_is_no_limit(tmp_path: Path) -> None:
    it = found(tmp_path, f"relay_domains = example.org\nmessage_size_limit = {'9' * 5000}\n")
    assert it.largest is None
