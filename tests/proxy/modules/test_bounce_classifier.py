"""The site's rules about bounces: read at load, checked line by line, and read again when they change."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from config.diagnostics import render
from config.loader import load
from proxy.app import SCHEMA, prepare
from proxy.modules.bounce_classifier import module
from proxy.modules.services import Services
from sieve.settings import BounceRules, Rule


def prepared(folder: Path, stanza: str) -> tuple[Any, str]:
    file = folder / "ecelerity.conf"
    file.write_text(f'ESMTP_Listener = ( 127.0.0.1:0 )\nGateway = "192.0.2.25"\n{stanza}\n')
    loaded = load(file, SCHEMA)
    assert loaded.settings is not None, render(loaded.diagnostics)
    (found,) = prepare(loaded.settings)
    return found, render(found.diagnostics)


async def given(found: Any) -> Any:
    services = Services(cast(Any, None), cast(Any, None), cast(Any, None))
    assert found.validator(services) is None
    return services.given["bounce_classifier"][0]


@pytest.mark.parametrize(
    "stanza",
    [
        'bounce_classifier "b" {{ user_smtp_classification_overide = "{0}"\n{1} }}',
        'bounce_classifier_override {{ user_smtp_classification_override = "{0}"\n{1} }}',
        'Module generic/bounce_classifier b {{ user_smtp_classification_overide = "{0}"\n{1} }}',
    ],
)
async def test_rules_are_read_from_either_dialect(tmp_path: Path, stanza: str) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("# a comment\n\n,51,too much|mail\nx.test,99,rotter, and more\n")
    found, wrong = prepared(tmp_path, stanza.format(rules, 'custom_classes = [ 99 = "profanity" ]'))
    assert wrong == ""
    assert await (await given(found))() == BounceRules(
        (Rule(51, "too much|mail"), Rule(99, "rotter, and more", "x.test")), (), {99: "profanity"}
    )


async def test_rules_about_other_messages_have_no_domain(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text("60,I am away, sorry\n")
    found, wrong = prepared(tmp_path, f'bounce_classifier {{ user_mdn_classification_overide = "{rules}" }}')
    assert wrong == ""
    assert (await (await given(found))()).notes == (Rule(60, "I am away, sorry"),)


@pytest.mark.parametrize("line", [",51", "x.test,11,text", ",99,text", ",5x,text", ",51,||", "51,text"])
def test_a_line_that_is_no_rule_is_an_error_at_its_place(tmp_path: Path, line: str) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text(f",51,good\n{line}\n")
    _, wrong = prepared(tmp_path, f'bounce_classifier {{ user_smtp_classification_overide = "{rules}" }}')
    assert f"rules.txt:2:1: error: line 2 is not a rule: {line}" in wrong


def test_a_missing_file_and_a_code_out_of_range_are_errors(tmp_path: Path) -> None:
    _, wrong = prepared(
        tmp_path, 'bounce_classifier { user_smtp_classification_overide = "missing"  custom_classes = [ 100 = "x" ] }'
    )
    assert "cannot read the rules: No such file" in wrong
    assert "custom_classes has the code 100" in wrong


async def test_a_changed_file_is_read_again_and_one_with_errors_is_not_used(tmp_path: Path) -> None:
    rules = tmp_path / "rules.txt"
    rules.write_text(",51,first\n")
    found, _ = prepared(tmp_path, f'bounce_classifier {{ user_smtp_classification_overide = "{rules}" }}')
    now = await given(found)
    holder = now.__self__
    rules.write_text(",51,first\n,52,second\n")
    assert len((await now()).answers) == 1  # not due
    holder._due = 0.0
    assert len((await now()).answers) == 2
    rules.write_text("nonsense\n")
    holder._due = 0.0
    with capture_logs() as log:
        assert len((await now()).answers) == 2
    assert [each["event"] for each in log] == ["bounce_rules_not_read"]
    with capture_logs():
        assert await found.read_again() == (2, "line 1 is not a rule: nonsense")
    rules.write_text(",53,third\n")
    assert await found.read_again() == (1, "")
    assert await (await given(found))() == BounceRules((Rule(53, "third"),), (), {}), "modules made anew have it, too"
    assert isinstance(holder, module.Refreshed)
