"""Every reason that the code gives is explained, to people and in the documentation; no other is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import proxy.callback
from proxy.callback import classify
from proxy.callback.lives import DOMAIN_REASONS, NEVER_KEPT
from proxy.callback.reasons import REASONS
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.throttle import Throttle

PACKAGE = Path(next(iter(proxy.callback.__path__)))
PAGE = Path(__file__).parents[3] / "docs" / "callback-verification.md"

REASON_FIRST = {"_skip", "_withheld", "_turned"}
"""Functions whose first argument is a reason."""

RETURNS_REASONS = {"_why_later", "admits", "may_ask", "_charged"}


def _is_status(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Status"


def _words(node: ast.expr) -> Iterator[str]:
    """Yield the strings that an expression may be."""
    if isinstance(node, ast.IfExp):
        yield from _words(node.body)
        yield from _words(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _given_to(call: ast.Call) -> Iterator[str]:
    """Yield the reasons among a call's arguments."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if len(call.args) > 1 and (_is_status(call.args[0]) or name == "_none"):
        yield from _words(call.args[1])
    elif name in REASON_FIRST:
        yield from _words(call.args[0])


def _reasons(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and _is_status(node.elts[0]):
            yield from _words(node.elts[1])
        elif isinstance(node, ast.Call) and node.args:
            yield from _given_to(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in RETURNS_REASONS:
            for each in ast.walk(node):
                if isinstance(each, ast.Return) and each.value is not None:
                    yield from _words(each.value)


def given() -> set[str]:
    """Return the reasons in the source of the package; the table itself is not one of them."""
    found = set(classify.REASONS)
    for path in PACKAGE.rglob("*.py"):
        if path.name != "reasons.py":
            found |= set(_reasons(ast.parse(path.read_text())))
    return found


def test_each_reason_that_the_code_gives_is_explained_and_no_other() -> None:
    assert given() == set(REASONS)


def test_rules_of_operators_give_reasons_with_the_status_that_is_explained() -> None:
    assert {reason: REASONS[reason].statuses[0] for reason in classify.REASONS} == dict(classify.REASONS)


def test_what_the_cache_treats_apart_are_reasons_that_exist() -> None:
    assert (DOMAIN_REASONS | NEVER_KEPT) - set(REASONS) == set()


def test_the_page_has_a_row_for_each_reason_in_the_words_that_probe_prints() -> None:
    table = re.findall(r"^\| `\w+`(?: or `\w+`)? \| `\w+` \| .*$", PAGE.read_text(), re.MULTILINE)
    assert table == [
        f"| {' or '.join(f'`{each}`' for each in reason.statuses)} | `{name}` | {reason.meaning} |"
        for name, reason in REASONS.items()
    ]


def test_the_page_shows_a_table_of_replies_and_names_every_reason_that_a_rule_may_give() -> None:
    (table,) = re.findall(r"^```\n(# reason .*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert [reason for reason, _ in classify.Words(table).rules] == ["greylist", "no_such_user", "blocked"]
    (sentence,) = re.findall(r"The reasons are (.*?), each\s", PAGE.read_text(), re.DOTALL)
    assert re.findall(r"`(\w+)`", sentence) == list(classify.REASONS)


def test_the_page_says_what_a_spammer_gains_by_each_limit() -> None:
    limits = {name for name, field in SmtpCbvOptions.model_fields.items() if isinstance(field.default, Throttle)}
    table = PAGE.read_text().partition("### What a spammer gains from each limit")[2].partition("### ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == limits | {"client_share"}
