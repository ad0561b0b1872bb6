"""tail and trace: filters, and a viewer who does not read."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.console.commands.live import MOST_WAITING, _Viewer
from proxy.console.errors import Refused
from proxy.console.filters import Filter
from proxy.control.questions import MOST_ANSWER
from proxy.keeper.frames import encode
from proxy.metrics.book import BOOK
from proxy.metrics.table import TRACE_DROPPED
from proxy.server.rooms import live

MESSAGE: dict[str, Any] = {
    "event": "message",
    "session": "abc",
    "client": "192.0.2.7",
    "sender": "Bob@Example.com",
    "recipients": ["a@x.test", "b@y.test"],
    "disposition": "refused",
    "upstream": "mx1:25",
    "taken_by": "",
}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("client=192.0.2.0/24",),
        ("sender=*@example.com",),
        ("sender=b*b@*.com",),
        ("sender=*o*@*e*",),
        ("sender=**",),
        ("recipient=b@*",),
        ("event=message,probe",),
        ("verdict=refused,lost",),
        ("upstream=mx?:25",),
        ("session=abc",),
        ("client=192.0.2.7", "sender=bob@*", "--terse"),
    ],
)
def test_what_fits_is_wanted(words: tuple[str, ...]) -> None:
    assert Filter.of(words).wants(MESSAGE)


@pytest.mark.parametrize(
    "word",
    ["client=192.0.2.8", "client=2001:db8::/32", "sender=bob", "recipient=c@*", "event=probe", "verdict=relayed",
     "upstream=mx", "session=ab"],
)  # fmt: skip
def test_what_does_not_fit_is_not(word: str) -> None:
    assert not Filter.of((word,)).wants(MESSAGE)
    assert not Filter.of((word,)).wants({"event": "listening"})


def test_a_pattern_is_no_regular_expression() -> None:
    assert not Filter.of(("sender=.*",)).wants(MESSAGE)
    assert not Filter.of(("sender=[Bb]ob+@example.com",)).wants(MESSAGE)
    assert not Filter.of(("sender=[Bb]ob@example.com",)).wants(MESSAGE)
    assert Filter.of(("sender=[x]*",)).wants({"sender": "[x]@y.test\n"})


def test_only_so_long_a_pattern_is_taken() -> None:
    with pytest.raises(Refused, match="pattern"):
        Filter.of((f"sender={'?' * 40_000}",))


@pytest.mark.parametrize("word", ["client=x", "event=nothing", "verdict=odd", "colour=red", "loose", "--loud"])
def test_a_wrong_filter_is_refused(word: str) -> None:
    with pytest.raises(Refused):
        Filter.of((word,))


async def test_a_viewer_who_does_not_read_costs_bounded_memory_and_is_told_what_was_lost() -> None:
    viewer = _Viewer(Filter.of(()), lambda row: str(row["number"]))
    counted = BOOK.counts[TRACE_DROPPED.base]
    for number in range(0, 10 * MOST_WAITING, 100):
        viewer.take([{"number": number + each} for each in range(100)], 0)
    assert len(viewer._rows) == MOST_WAITING
    assert BOOK.counts[TRACE_DROPPED.base] - counted == 9 * MOST_WAITING
    results = viewer.results()
    first = await anext(results)
    assert first.value == {"lost": 9 * MOST_WAITING}
    assert first.text == f"... {9 * MOST_WAITING} were lost, because this view was too slow"
    assert [(await anext(results)).text for _ in range(3)] == ["0", "1", "2"]
    await results.aclose()


async def test_a_process_gathers_a_bounded_number_of_rows_for_a_control_process_that_does_not_read() -> None:
    gathered = live._Gathered()
    gathered.put(map(str, range(3 * live.MOST_WAITING)))
    batches = gathered.batches()
    first = await anext(batches)
    assert first["dropped"] == 2 * live.MOST_WAITING
    assert len(first["rows"]) == live.MOST_TOGETHER
    assert (await anext(batches))["dropped"] == 0
    await batches.aclose()


@pytest.mark.parametrize(
    "long", ["x" * 8000, {"line": "x" * 8000, "sender": "x" * 250, "who": "C"}], ids=["event", "line"]
)
async def test_an_answer_is_never_too_long_to_be_sent_however_long_the_rows_are(long: str | dict[str, str]) -> None:
    gathered = live._Gathered()
    far_too_long: Any = "x" * MOST_ANSWER
    gathered.put([long] * 1000)
    gathered.put([far_too_long, long, far_too_long])
    batches = gathered.batches()
    rows = dropped = 0
    while rows < 1001:
        batch = await anext(batches)
        assert len(encode(batch)) < MOST_ANSWER - 64
        rows, dropped = rows + len(batch["rows"]), dropped + batch["dropped"]
    gathered.put(["next"])
    batch = await anext(batches)
    assert (batch["rows"][-1:], dropped + batch["dropped"]) == (["next"], 2)
    await batches.aclose()
