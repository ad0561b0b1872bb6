"""Whoever decides about a command has a source in the metrics; other lists that a new module may forget."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import proxy
from config.schema.declared import names_of
from proxy.app import MODULES, SCHEMA, load
from proxy.checks.order import JUDGES
from proxy.cli import mail_checks
from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.metrics.deciders import DECIDERS, LIMITS
from proxy.metrics.metric import OTHER
from proxy.metrics.table import LAYOUT, SOURCE
from proxy.options.inbound import InboundOptions
from proxy.options.throttle import Throttle
from proxy.server.rooms.explaining import RATES
from proxy.smtp import counting

FOLDER = Path(proxy.__file__).parent


def _named(path: Path) -> Iterator[str]:
    """Yield the words that a file gives a reply as who decided."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [each.value for each in node.keywords if each.arg == "by"]
            if called == "decided_by":
                given += node.args
            if called in {"decided_by", "reply", "from_policy", "Reply"}:
                texts = [each.values[0] if isinstance(each, ast.JoinedStr) else each for each in given]
                yield from [
                    each.value.partition(" ")[0]
                    for each in texts
                    if isinstance(each, ast.Constant) and type(each.value) is str
                ]


def _texts(options: str) -> list[str]:
    """Return the files beside the one that declares a module's options."""
    return [each.read_text() for each in Path(str(sys.modules[options].__file__)).parent.rglob("*.py")]


def test_every_word_in_the_code_has_a_source() -> None:
    words = {word: path.name for path in FOLDER.rglob("*.py") for word in _named(path)}
    assert words.keys() >= {"operator", "on_store_error", "early_talker"}
    types = {each.spec.type for each in MODULES}
    lost = {word: path for word, path in words.items() if word not in DECIDERS and word not in types}
    assert lost == {}, "add them to proxy/metrics/deciders.py"


def test_the_page_tells_of_every_word_that_is_no_option() -> None:
    page = (FOLDER.parent / "docs" / "operating.md").read_text()
    told = page.partition("- `decided_by` says")[2].partition("\n- ")[0]
    words = DECIDERS.keys() - names_of(SCHEMA.core).keys() - {""}
    assert {word for word in words if f"`{word}" not in told} == set()


def test_the_page_tells_of_every_limit() -> None:
    limits = [name for name in LIMITS if name in names_of(SCHEMA.core)]
    assert len(limits) > 10
    for name in ("docs/operating.md", "docs/hardening.md"):
        page = (FOLDER.parent / name).read_text().lower()
        assert [each for each in limits if f"`{each}`" not in page] == [], f"add a row to the limits in {name}"


def test_explain_shows_every_rate_of_a_client() -> None:
    rates = {name for name, field in InboundOptions.model_fields.items() if field.annotation is Throttle}
    assert rates >= {*RATES} >= {"connection_rate_per_client", "tls_rate_per_client"}
    others = {"inbound_throttle_messages", "authentication_failure_rate"}
    hint = "proxy/server/rooms/explaining.py shows options called WHAT_rate_per_client; others must be shown there"
    assert rates - {*RATES} == others, hint


def test_every_refusal_of_ours_has_a_source() -> None:
    refusals = {name: each for name, each in vars(replies).items() if isinstance(each, Reply) and each.code >= 400}
    assert [name for name, each in refusals.items() if counting.source_of(each.by.partition(" ")[0]) == OTHER] == []


def test_every_source_of_the_table_is_one_of_the_metric() -> None:
    assert {each.source for each in DECIDERS.values()} <= set(SOURCE.values) - {OTHER}


def test_a_module_that_may_refuse_has_a_source_and_a_name_of_its_own() -> None:
    lost, unnamed = [], []
    for module in MODULES:
        texts = _texts(module.spec.options.__module__)
        refuses = any("Verdict(" in each or "on_error = OnError(" in each for each in texts)
        if refuses and counting.source_of_type(module.spec.type) == OTHER:
            lost.append(module.spec.type)
        if refuses and module.spec.type not in JUDGES:
            unnamed.append(module.spec.type)
    assert unnamed == [], "add them to JUDGES in proxy/checks/order.py"
    assert lost == [], "add them to SOURCE in proxy/metrics/table.py"


def test_a_stanza_with_a_name_of_its_own_counts_under_its_type() -> None:
    counting.know_stanzas({"our own lists": "dns_rbl", "first": "sieve", "unknown": "nonsense"})
    try:
        found = [counting.source_of(each) for each in ("our", "first", "iprev", "unknown", "odd")]
        assert found == ["dnsbl", "script", "iprev", OTHER, OTHER]
    finally:
        counting._STANZAS.clear()
        counting.source_of.cache_clear()


def test_every_label_whose_values_the_configuration_names_gets_them(tmp_path: Path) -> None:
    (tmp_path / "r.conf").write_text('ESMTP_Listener = ( 127.0.0.1:0 )\nHostname = "r.test"\nGateway = "127.0.0.1"\n')
    names = load(tmp_path / "r.conf")[0].metric_names
    free = {label for metric in LAYOUT.metrics if not metric.hidden for label in metric.labels if label.most}
    named_while_it_runs = {"counter"}
    assert {each.name for each in free} - named_while_it_runs == names.keys(), "see proxy/server/assembly.py"


def test_every_module_that_tells_about_a_sender_is_asked_by_check_mail() -> None:
    telling = [
        module.spec.type for module in MODULES for text in _texts(module.spec.options.__module__)
        if "from proxy.mail.evidence import" in text and "report(" in text
    ]  # fmt: skip
    assert "iprev" in telling
    assert sorted(set(telling) - set(mail_checks._CHECKS)) == []
