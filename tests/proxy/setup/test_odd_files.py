"""Broken and hostile files of other servers: what is taken from them is still valid."""

# ruff: noqa: E501 — a configuration is on one line with what it means

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.setup.answers import QUESTIONS, Found
from proxy.setup.sources import read_found
from proxy.setup.tables import Absent
from tests.support.foreign import found_in

WORDS = (
    *("a.example", "*.b.example", ".c.example", "$myhostname", "localhost", "@", "@[]", "[192.0.2.1]:25", "mx.example::26"),
    *("192.0.2.0/24", "[2001:db8::]/32", "::1", "0.0.0.0/0", "!10.0.0.1", "::::1", "10.0.0.1/8", "[::ffff:10.0.0.0]/104"),
    *("hash:/t", "/t", "pcre:/t", "cidr:/t", "inline:{a.example=smtp:[x], {b.example = y}}", "lsearch;/t", "dsearch;/", "^re$"),
    *("${x?{a}:{b}}", "${{1} == {2} ? {a} : {b}}", "$", "${", "$$", "{", "}", '"', "<;", "<\\n", ";", ":", "+relay_to_domains"),
    *("\u2028", "\x85", "\x0b", "\x1b[2J", "\x00", "\ufeff", "münchen.example", "e" * 300, "\\", "# no", "smtp:", "lmtp:unix:/x"),
)  # fmt: skip
POSTFIX = (
    *("mydestination", "relay_domains", "mynetworks", "relayhost", "relay_transport", "transport_maps", "myhostname"),
    *("virtual_mailbox_domains", "message_size_limit", "inet_interfaces", "smtpd_tls_cert_file", "x"),
)
EXIM = (
    *(
        "domainlist local_domains",
        "domainlist relay_to_domains",
        "hostlist relay_from_hosts",
        "primary_hostname",
        "MACRO",
    ),
    *(
        "message_size_limit",
        "daemon_smtp_ports",
        "tls_certificate",
        "begin routers\nr:\n driver = manualroute\n domains",
    ),
    *("route_list", ".ifdef MACRO\nx", ".endif\nx", ".include /t\nx"),
)


def _text(names: tuple[str, ...], seed: str) -> st.SearchStrategy[str]:
    value = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
    end = st.sampled_from(("\n", "\n", " \\\n", "\n  ", "\r\n"))
    line = st.tuples(st.sampled_from(names), value, end).map(lambda each: f"{each[0]} = {each[1]}{each[2]}")
    return st.lists(line, max_size=12).map(lambda lines: seed + "".join(lines))


def _stands(found: Found) -> None:
    """Each answer that is offered is one that the question takes, so Enter is never refused."""
    for name in ("domains", "networks"):
        question = next(each for each in QUESTIONS if each.name == name)
        offered = getattr(found, name)
        assert not offered or question.read(" ".join(offered)) == offered
    next(each for each in QUESTIONS if each.name == "next_hop").read(found.next_hop)


@settings(max_examples=200, deadline=None)
@given(_text(POSTFIX, "mydestination = a.example\n"), st.sampled_from(WORDS))
def test_what_is_taken_from_any_main_cf_is_an_answer_that_stands(text: str, table: str) -> None:
    _taken("main.cf", text, table)


@settings(max_examples=200, deadline=None)
@given(
    _text(EXIM, "begin acl\nbegin rewrite\n") | _text(EXIM, "domainlist local_domains = a.example\n"),
    st.sampled_from(WORDS),
)
def test_what_is_taken_from_any_exim_configuration_is_an_answer_that_stands(text: str, table: str) -> None:
    _taken("exim4.conf", text, table)


def _taken(name: str, text: str, table: str) -> None:
    with TemporaryDirectory() as folder:
        _stands(found_in(Path(folder), name, text, t=f"{table} smtp:[x]\n{table}\n"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("main.cf", "myhostname = x.example\nmydestination = /etc/postfix/main.cf, /main.cf a.example\n"),
        ("exim4.conf", "domainlist local_domains = a.example : /exim4.conf\n.include exim4.conf\n.include exim4.conf\n"),
        ("exim4.conf", "domainlist local_domains = a.example\n" + "".join(f"M{chr(at)} = " + f"M{chr(at - 1)} " * 10 + "\n" for at in range(66, 90)) + "x = MY\n"),
    ],
)  # fmt: skip
def test_files_and_macros_that_name_each_other_come_to_an_end(tmp_path: Path, name: str, text: str) -> None:
    assert "a.example" in found_in(tmp_path, name, text).domains


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        ({"main.cf": "relay_domains = a.example"}, "a.example"),
        ({"exim4.conf": "domainlist local_domains = b.example\n"}, "b.example"),
        ({"update-exim4.conf.conf": "dc_eximconfig_configtype='internet'\ndc_other_hostnames='c.example'\n"}, "c.example"),
        ({"main.cf": "relay_domains = a.example", "exim4.conf": "domainlist local_domains = b.example"}, "a.example"),
    ],
)  # fmt: skip
def test_a_folder_is_read_by_the_usual_name_in_it(tmp_path: Path, files: dict[str, str], taken: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(f"{text}\n")
    assert taken in read_found(tmp_path, "own.example.org").domains


def test_what_cannot_be_read_is_refused_in_words(tmp_path: Path) -> None:
    template = "MAIN_LOCAL_DOMAINS=DEBCONFlocal_domainsDEBCONF\ndomainlist local_domains = MAIN_LOCAL_DOMAINS\n"
    (tmp_path / "exim4.conf.template").write_text(template)
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 9)
    os.mkfifo(tmp_path / "pipe")
    for name, words in {
        "exim4.conf.template": "is Debian's template: name /etc/exim4/update-exim4.conf.conf instead",
        "binary": "is neither a Postfix main.cf nor an Exim configuration",
        "gone": "is not there",
        "pipe": "cannot be read",
        "": "main.cf is not there",
    }.items():
        with pytest.raises(Absent, match=words):
            read_found(tmp_path / name, "own.example.org")
