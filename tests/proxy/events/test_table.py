"""The table of events: it is complete, it is used, and what is made from it is valid."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from proxy.cli.documents import EVENT_SCHEMA
from proxy.events.fields import FIELDS
from proxy.events.pages import page, schema
from proxy.events.table import EVENTS

SOURCES = Path(__file__).parents[3] / "proxy"
METHODS = {"debug", "info", "warning", "error", "exception"}
MADE_BY_THE_LOG_ITSELF = {"log_dropped", "log_event_failed", "log_file_unusable", "log_observer_failed"}


def calls() -> Iterator[tuple[str, str, set[str], str]]:
    """Yield each call of a log in the sources: the event, the level, the literal fields, and its place."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=owner, attr=method), args=[ast.Constant(value=str(name)), *_]):
                    if method in METHODS and ast.unparse(owner).rpartition(".")[2] in {"log", "get_logger()"}:
                        level = "error" if method == "exception" else method
                        yield name, level, set(fields_of(node)), f"{path.name}:{node.lineno}"


def fields_of(call: ast.Call) -> Iterator[str]:
    """Yield the literal fields of a call, and those in a dictionary that has the whole event."""
    for each in call.keywords:
        if each.arg == "whole" and isinstance(each.value, ast.Dict):
            yield from (key.value for key in each.value.keys if isinstance(key, ast.Constant))
        elif each.arg not in {"whole", "observed", None}:
            yield each.arg


def test_every_event_in_the_sources_is_declared_with_its_level_and_fields() -> None:
    anywhere = {"worker", "exc_info"}
    wrong = [
        (name, level, fields, place)
        for name, level, fields, place in calls()
        if name not in EVENTS
        or level not in EVENTS[name].levels
        or not fields <= EVENTS[name].all_fields.keys() | anywhere
    ]
    assert wrong == []


def test_every_declared_event_is_logged_somewhere() -> None:
    assert {name for name, *_ in calls()} | MADE_BY_THE_LOG_ITSELF == EVENTS.keys()


def test_no_event_has_a_name_that_is_not_literal() -> None:
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=method), args=[first, *_]):
                    assert method not in METHODS or isinstance(first, ast.Constant), f"{path}:{node.lineno}"


def test_every_field_of_the_vocabulary_is_used() -> None:
    used = {id(field) for event in EVENTS.values() for field in event.all_fields.values()}
    assert [name for name, field in FIELDS.items() if id(field) not in used] == ["exception"]


def test_an_event_that_is_not_as_declared_is_reported_field_by_field() -> None:
    found = EVENTS["tls_failed"].problems("error", {"session": 1, "client": "c", "colour": "red"})
    assert sorted(found) == [
        "tls_failed: colour is not declared",
        "tls_failed: level error is not declared",
        "tls_failed: reason is missing",
        "tls_failed: session is int, not string",
    ]


def test_the_schema_that_is_shipped_is_that_of_the_table() -> None:
    assert json.loads(EVENT_SCHEMA.read_text(encoding="utf-8")) == schema()


def test_the_page_names_every_event_and_every_field() -> None:
    text = page()
    assert [name for name in (*EVENTS, *FIELDS) if f"`{name}`" not in text] == []
