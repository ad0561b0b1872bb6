"""Phase legality, judged against the manual's own table: `manual_table.tsv`, which no code reads or writes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from config.diagnostics import Source
from sieve.compile.compiler import compile_script
from sieve.phases import Phase
from sieve.standard import standard_library

_EVERY = [phase.value for phase in Phase]
_EARLIER = {"mailfrom", "rcptto", "data", "spool", "each_rcpt"}
_DECIDED = {
    "add_recipient": {"each_rcpt"},
    "define_cidr": set(_EVERY),
    "ec_dkim_sign": set(_EVERY),
    "ec_set_binding": _EARLIER,
    "ec_set_binding_group": _EARLIER,
}
"""Phases that the manual's prose or examples have and its table leaves out, and some of ours."""


def manual_table() -> dict[str, set[str]]:
    with (Path(__file__).parent / "manual_table.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = {row["name"]: set(_EVERY if row["phases"] == "any" else row["phases"].split(", ")) for row in rows}
    return {name: phases | _DECIDED.get(name, set()) for name, phases in found.items()}


TABLE = manual_table()


def messages(name: str, phase: Phase) -> list[str]:
    """Return what is said of a bare use of a function in a phase, but for what its missing arguments cause."""
    found = compile_script(
        Source("x.siv", f"{name};"), phase=phase, library=standard_library(), modules=frozenset({"smtp_cbv"})
    )
    return [each.message for each in found.diagnostics if "phase" in each.message or "unknown" in each.message]


def test_the_table_has_every_function_of_the_manual() -> None:
    assert len(TABLE) == 154


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_function_is_refused_exactly_where_the_manual_says(name: str, phase: Phase) -> None:
    refused = [f"{name} cannot be used in the {phase.value} phase"]
    is_there = standard_library().get(name) is not None  # what is not there is named so in every phase
    assert messages(name, phase) == (refused if is_there and phase.value not in TABLE[name] else [])


CONTENT = {"data", "spool", "each_rcpt", "set_binding"}
BESIDE_THE_TABLE = {
    "body": CONTENT,
    "exists": CONTENT,
    "false": set(_EVERY),
    "header": CONTENT,
    "is_rfc821_ip": set(_EVERY),
    "is_valid_ip": set(_EVERY),
    "isset": set(_EVERY),
    "require": set(_EVERY),
    "size": CONTENT,
    "true": set(_EVERY),
    "vctx": set(_EVERY),
    "vctx_conn": set(_EVERY),
    "vctx_mess": set(_EVERY),
}
"""The base tests, which the manual describes in its syntax chapter."""

OURS = {"ec_list_reason"}
"""What Momentum does not have."""


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("name", sorted(BESIDE_THE_TABLE))
def test_a_base_test_is_refused_exactly_where_there_is_nothing_to_look_at(name: str, phase: Phase) -> None:
    refused = [f"{name} cannot be used in the {phase.value} phase"]
    assert messages(name, phase) == ([] if phase.value in BESIDE_THE_TABLE[name] else refused)


def test_every_function_of_the_library_is_in_one_of_the_tables() -> None:
    unknown = {function.name for function in standard_library()} - set(TABLE) - set(BESIDE_THE_TABLE)
    assert unknown == OURS, "add a function that Momentum does not have to OURS in tests/sieve/test_phases.py"
