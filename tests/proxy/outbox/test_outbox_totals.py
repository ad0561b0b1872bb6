"""How much the outbox holds: bounds, and the figures for whoever watches."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.outbox.file import Bounds, Totals
from proxy.outbox.store import OutboxStore
from proxy.smtp.ports import OutboxFull
from tests.proxy.outbox.test_outbox_bounds import SMALL, emptied, letter, old_file, size


@pytest.mark.parametrize(
    ("bounds", "fit"),
    [
        (Bounds(letters=3), 3),
        (Bounds(octets=399), 3),
        (Bounds(octets=400), 4),
        (Bounds(octets=250, letters=3), 2),
    ],
    ids=["letters", "octets", "exactly", "both"],
)
async def test_what_does_not_fit_is_refused_whole(tmp_path: Path, bounds: Bounds, fit: int) -> None:
    store = OutboxStore(tmp_path, bounds=bounds)
    for _ in range(fit):
        await store.add([letter()], "t.1", held=True)
    with pytest.raises(OutboxFull):
        await store.add([letter()], "t.2")
    assert store.totals == Totals(fit, 100 * fit)
    await store.drop("t.1")
    assert store.totals == Totals()
    await store.add([letter()], "t.2")
    with pytest.raises(OutboxFull):
        await store.add([letter()] * 10, "t.3")
    assert store.totals == Totals(1, 100)
    await store.close()


async def test_0_is_no_limit(tmp_path: Path) -> None:
    store = OutboxStore(tmp_path, bounds=Bounds(0, 0))
    await store.add([letter() for _ in range(500)], "t.1")
    assert store.totals == Totals(500, 50_000)
    await store.close()


@pytest.mark.parametrize("octets", [1000, 2_000_000], ids=["small", "above_64_MiB"])
async def test_letters_of_a_file_from_before_are_counted_delivered_and_leave_no_room_behind(
    tmp_path: Path, octets: int
) -> None:
    old_file(tmp_path, 40, octets, emptied=False)
    store = OutboxStore(tmp_path, bounds=Bounds(letters=41))
    await store.next_due()
    assert store.totals == Totals(40, 40 * octets)
    await store.add([letter()], "t.2")
    with pytest.raises(OutboxFull):
        await store.add([letter()], "t.3")
    await emptied(store)
    assert store.totals == Totals()
    assert size(tmp_path) < SMALL
    await store.close()


async def test_what_the_outbox_holds_is_at_hand(tmp_path: Path) -> None:
    store, other = OutboxStore(tmp_path), OutboxStore(tmp_path)
    await store.add([letter(100), letter(200)], "t.1")
    assert store.totals == Totals(2, 300)
    (first, _) = await other.claim(10)
    assert other.totals == Totals(2, 300)
    await other.finish(first)
    assert other.totals == Totals(1, 200)
    await store.next_due()
    assert store.totals == Totals(1, 200)
    await store.close()
    await other.close()
