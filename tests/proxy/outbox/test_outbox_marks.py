"""The mark of a letter: what its token holds for, and the key that makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.modules.sieve_policy.effects import path_of
from proxy.outbox import marks
from proxy.outbox.marks import LIVES_SECONDS, Key, marks_of, names, own_key, read_key
from tests.support.worker import BOB

TEAM = "team@example.com"
SECRET = b"a secret of the whole site\n"
NOW = 1_000_000.0


def test_a_key_that_another_worker_made_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = marks.os.link
    monkeypatch.setattr(marks.os, "link", lambda begun, path: (path.write_bytes(SECRET), link(begun, path)))
    assert own_key(tmp_path)._octets == SECRET.strip()


def sets(*addresses: str) -> list[frozenset[bytes]]:
    return [names(map(path_of, addresses))]


def test_a_token_holds_for_its_letter_alone() -> None:
    key, other = Key(b"k" * 16), Key(b"o" * 16)
    (mark,) = marks_of([key.mark("t-1", NOW, [path_of(TEAM)]).line.decode().partition(": ")[2]])
    assert key.knows([mark], NOW, sets(TEAM))
    assert key.knows([mark], NOW, sets("team@EXAMPLE.com"))
    assert key.knows([mark], NOW + LIVES_SECONDS, sets(TEAM))
    assert not key.knows([mark], NOW + LIVES_SECONDS + 1, sets(TEAM))
    assert not key.knows([mark], NOW - 301, sets(TEAM))
    assert not key.knows([mark], NOW, sets(BOB))
    assert not key.knows([mark], NOW, sets(BOB, TEAM))
    assert not other.knows([mark], NOW, sets(TEAM))
    for changed in (marks.Mark("t-2", mark.time, mark.token), marks.Mark(mark.id, mark.time + 1, mark.token)):
        assert not key.knows([changed], NOW, sets(TEAM))
    assert TEAM.encode() not in mark.line


ZERO = "token=" + "0" * 32


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("id=1", id="part"),
        pytest.param(f"id=1; time=x; {ZERO}", id="time"),
        pytest.param("id=1; time=1; token=" + "g" * 32, id="token"),
        pytest.param(f"id=a b; time=1; {ZERO}", id="blank"),
        pytest.param("id=" + "x" * 65 + f"; time=1; {ZERO}", id="long"),
        pytest.param(f"id=1; time=1; {ZERO}; more=1", id="more"),
    ],
)
def test_only_a_whole_mark_is_copied_into_letters(body: str) -> None:
    assert marks_of([body]) == []


def test_a_key_of_an_operator_is_read_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_key(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
