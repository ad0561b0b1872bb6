"""The tables beside this file name, for each fault that was found, the tests that failed before it was mended.

A row is: the sentence that describes the fault, the ids of its tests, the other members of its kind that were mended
with it. The tests themselves run with the rest of the suite; here every id must name a test that is collected.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TABLES = sorted(HERE.glob("*.tsv"))
HEAD = ["sentence", "tests", "other members"]


def rows(table: Path) -> list[list[str]]:
    """Return the rows below the head."""
    head, *rest = [line.split("\t") for line in table.read_text("utf-8").splitlines()]
    assert head == HEAD
    return rest


def ids(collected: Iterable[str]) -> set[str]:
    """Return the ids; of parametrised tests, also the ids without parameters."""
    found = set(collected)
    return found | {name.partition("[")[0] for name in found}


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> set[str]:
    """Every test id of the files that the tables name: as this run has them, or collected anew if it has not all."""
    named = {name for table in TABLES for row in rows(table) for name in row[1].split()}
    ours = ids(item.nodeid for item in request.session.items)
    if named <= ours:
        return ours
    files = sorted({name.partition("::")[0] for name in named})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return ids(line for line in done.stdout.splitlines() if "::" in line)


def test_there_are_tables() -> None:
    assert TABLES


@pytest.mark.parametrize("table", TABLES, ids=[table.stem for table in TABLES])
def test_each_row_has_a_sentence_and_tests(table: Path) -> None:
    bad = [row for row in rows(table) if len(row) != len(HEAD) or not row[0].strip() or not row[1].split()]
    assert bad == []


@pytest.mark.parametrize("table", TABLES, ids=[table.stem for table in TABLES])
def test_each_id_names_a_test(table: Path, collected: set[str]) -> None:
    missing = [name for row in rows(table) for name in row[1].split() if name not in collected]
    assert missing == []
