"""The site's rules about bounces: read at load, checked line by line, and read again when they change."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from config.diagnostics import render
from config.loader import load
from proxy.app import SCHEMA, prepare
from proxy.datasource.sources import Datasources
from proxy.modules.bounce_classifier import module
from proxy.modules.services import Services
from proxy.options.datasource_uris import parse_uri
from proxy.options.datasources import DatasourceOptions
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


QUERIES = """\
bounce_classifier {{
  user_smtp_classification_override = ":datasource:d:select domain, code, rule from answers order by rowid"
  user_mdn_classification_override = ":datasource:d:select code, rule from notes"
  refresh = {refresh}
}}
"""


class Sources:
    """A database of rules."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rules.db"
        self.run("create table answers (domain, code, rule)", "create table notes (code, rule)")
        stanza = DatasourceOptions(name="d", uri=(parse_uri(f"sqlite:{self.path}"),))
        self.sources = Datasources([stanza])

    def run(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.path)) as database, database:
            for each in statements:
                database.execute(each)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Sources]:
    made = Sources(tmp_path)
    yield made
    await made.sources.close()


async def rules_from(database: Sources, found: Any) -> Any:
    services = Services(cast(Any, None), cast(Any, None), cast(Any, None), datasources=database.sources)
    assert found.validator(services) is None
    return services.given["bounce_classifier"][0]


async def test_rules_come_from_the_rows_of_a_query_and_are_asked_for_again(tmp_path: Path, database: Sources) -> None:
    database.run("insert into answers values ('x.test', 51, 'too much|mail'), (null, '22', 'full')")
    database.run("insert into notes values (60, 'I am away')")
    found, wrong = prepared(tmp_path, QUERIES.format(refresh=300))
    assert wrong == ""
    now = await rules_from(database, found)
    first = BounceRules((Rule(51, "too much|mail", "x.test"), Rule(22, "full")), (Rule(60, "I am away"),), {})
    assert await now() == first
    database.run("insert into notes values (80, 'subscribe me')")
    assert await now() == first, "it is not time yet"
    now.__self__._due = 0.0
    assert len((await now()).notes) == 2
    database.run("insert into notes values (11, 'no such code')")
    now.__self__._due = 0.0
    with capture_logs() as log:
        assert len((await now()).notes) == 2, "wrong rows leave the old rules"
        assert await found.read_again() == (4, "row 3 is not a rule: 11, no such code")
    assert [each["event"] for each in log] == ["bounce_rules_not_read"] * 2


async def test_a_database_that_is_down_leaves_the_old_rules_and_is_tried_again(
    tmp_path: Path, database: Sources
) -> None:
    database.run("alter table notes rename to elsewhere")
    found, _ = prepared(tmp_path, QUERIES.format(refresh=0))
    now = await rules_from(database, found)
    with capture_logs() as log:
        assert await asyncio.gather(now(), now()) == [BounceRules((), (), {})] * 2
        assert await now() == BounceRules((), (), {})
    assert [each["event"] for each in log].count("bounce_rules_not_read") == 1, "not again by the next session"
    database.run("alter table elsewhere rename to notes", "insert into notes values (60, 'I am away')")
    now.__self__._due = 0.0
    assert (await now()).notes == (Rule(60, "I am away"),)
    database.run("delete from notes")
    now.__self__._due = 0.0
    assert (await now()).notes == (Rule(60, "I am away"),), "refresh is off"


@pytest.mark.parametrize("place", [":datasource:d", ":datasource::select 1", ":datasource:d: "])
def test_a_query_without_its_parts_is_an_error(tmp_path: Path, place: str) -> None:
    file = tmp_path / "ecelerity.conf"
    file.write_text(f'Gateway = "192.0.2.25"\nbounce_classifier {{ user_mdn_classification_override = "{place}" }}\n')
    assert 'write ":datasource:NAME:QUERY"' in render(load(file, SCHEMA).diagnostics)


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
