"""What is remembered of addresses, families and domains: by whom it is seen, for how long, and how it is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.callback.cache import LOCAL_SECONDS, CallbackCache
from proxy.callback.lives import NEVER_KEPT, CachedVerdict, Lives
from proxy.callback.verdict import CallbackVerdict, Status
from proxy.store.memory import MemoryStore
from tests.support.callbacks import Clock, question

PASS = CallbackVerdict(Status.PASS, "accepted", "ok", "rcpt", 250)
FAIL = CallbackVerdict(Status.FAIL, "no_such_user", "5.1.1 no", "rcpt", 550)
LATER = CallbackVerdict(Status.TRANSIENT, "greylist", "later", "rcpt", 450)
GONE = CallbackVerdict(Status.FAIL, "nxdomain", "sender.test: no such domain", "dns")
SECRET = b"0123456789abcdef"
BOB, TAGGED, OTHER_TAG = (question(f"{each}@sender.test") for each in ("bob", "bob+one", "bob+two"))


class Shelf:
    """One store, and workers with caches on it."""

    def __init__(self, *, shared: bool = True, secret: bytes = b"") -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        self.shared, self.secret = shared, secret

    def cache(self, most: int = 1000) -> CallbackCache:
        return CallbackCache(Lives(), self.store, most=most, shared=self.shared, secret=self.secret, clock=self.clock)

    async def everything(self) -> str:
        """Return all keys and values, as text."""
        return "\n".join(f"{key} {stored.value.decode()}" for key, stored in await self.store.scan())


# ---------------------------------------------------------------- by whom it is seen


async def test_what_one_worker_keeps_another_finds() -> None:
    shelf = Shelf()
    kept = await shelf.cache().keep(BOB, PASS)
    other = shelf.cache()
    assert other.at_hand(BOB) is None
    assert await other.find(BOB) == kept
    assert other.at_hand(BOB) == kept


async def test_while_nobody_else_writes_memory_is_believed_for_longer() -> None:
    shelf = Shelf()
    here = shelf.cache()
    await here.keep(BOB, FAIL)
    untouched = shelf.store.untouched
    untouched.since, untouched.until = shelf.clock.now, shelf.clock.now + 1000
    shelf.clock.now += LOCAL_SECONDS + 1
    assert here.at_hand(BOB) is not None
    untouched.since = shelf.clock.now - LOCAL_SECONDS  # another process wrote after it was remembered
    assert here.at_hand(BOB) is None
    untouched.since, untouched.until = 0.0, shelf.clock.now  # it was not asked for a while
    assert here.at_hand(BOB) is None
    untouched.until = shelf.clock.now + 1
    assert (held := here.held_of(BOB)) is not None
    assert held.until == untouched.until, "the workers ask again when the keeper would"
    shelf.clock.now += Lives().failed
    untouched.until = shelf.clock.now + 1
    assert here.at_hand(BOB) is None, "nothing outlives its lifetime"


async def test_a_correction_of_another_worker_is_seen_after_a_minute_at_most() -> None:
    shelf = Shelf()
    here, there = shelf.cache(), shelf.cache()
    await here.keep(BOB, FAIL)
    await there.keep(BOB, PASS)
    shelf.clock.now += LOCAL_SECONDS - 1
    assert (record := here.at_hand(BOB)) is not None
    assert record.verdict == FAIL
    shelf.clock.now += 1
    assert here.at_hand(BOB) is None
    assert (found := await here.find(BOB)) is not None
    assert found.verdict == PASS


async def test_a_store_of_ones_own_is_not_asked_again() -> None:
    shelf = Shelf(shared=False)
    cache = shelf.cache()
    await cache.keep(BOB, PASS)
    await shelf.store.purge()
    shelf.clock.now += 86_399
    assert cache.at_hand(BOB) is not None
    shelf.clock.now += 1
    assert cache.at_hand(BOB) is None


async def test_what_another_found_out_is_seen_at_once_where_ours_has_expired() -> None:
    shelf = Shelf()
    here, there = shelf.cache(), shelf.cache()
    await here.keep(BOB, LATER)
    shelf.clock.now += 299
    assert await there.find(BOB) is not None
    shelf.clock.now += 1
    assert await there.find(BOB) is None
    await here.keep(BOB, PASS)
    assert (found := await there.find(BOB)) is not None
    assert found.verdict == PASS


async def test_no_more_stays_in_memory_than_the_limit_and_the_store_has_the_rest() -> None:
    shelf = Shelf()
    cache = shelf.cache(most=2)
    for name in ("a", "b", "c"):
        await cache.keep(question(f"{name}@sender.test"), PASS)
    assert [cache.at_hand(question(f"{name}@sender.test")) is None for name in ("a", "b", "c")] == [True, False, False]
    assert await cache.find(question("a@sender.test")) is not None


async def test_a_sender_of_its_own_is_a_question_of_its_own() -> None:
    cache = Shelf().cache()
    await cache.keep(BOB, PASS)
    assert await cache.find(replace(BOB, sender="probe@ringback.test")) is None
    assert await cache.find(replace(BOB, local_part="Bob")) is None


@pytest.mark.parametrize("reason", sorted(NEVER_KEPT))
async def test_what_was_not_found_out_is_not_kept(reason: str) -> None:
    shelf = Shelf()
    cache = shelf.cache()
    verdict = replace(LATER, reason=reason)
    record = await cache.keep(BOB, verdict)
    assert (record.verdict, record.fresh(shelf.clock.now)) == (verdict, False)
    assert await cache.find(BOB) is None
    assert await shelf.everything() == ""


# ---------------------------------------------------------------- families and domains


async def test_a_family_shares_a_pass() -> None:
    cache = Shelf().cache()
    await cache.keep(TAGGED, PASS)
    assert (found := await cache.find(OTHER_TAG)) is not None
    assert found.verdict == PASS
    assert await cache.find(BOB) is None
    assert await cache.find(question("bob+two@other.test")) is None


@pytest.mark.parametrize("verdict", [FAIL, LATER, replace(FAIL, status=Status.ERROR, reason="policy")])
async def test_a_family_shares_nothing_else(verdict: CallbackVerdict) -> None:
    cache = Shelf().cache()
    await cache.keep(TAGGED, verdict)
    assert await cache.find(OTHER_TAG) is None


async def test_a_members_own_verdict_comes_before_its_familys() -> None:
    cache = Shelf().cache()
    await cache.keep(OTHER_TAG, FAIL)
    await cache.keep(TAGGED, PASS)
    assert (found := await cache.find(OTHER_TAG)) is not None
    assert found.verdict == FAIL


async def test_what_finds_out_nothing_never_hides_a_familys_pass() -> None:
    cache = Shelf().cache()
    await cache.keep(TAGGED, PASS)
    assert (await cache.keep(OTHER_TAG, LATER)).verdict == PASS
    assert (found := await cache.find(OTHER_TAG)) is not None
    assert found.verdict == PASS


@pytest.mark.parametrize("reason", ["nxdomain", "null_mx", "no_address", "unroutable"])
async def test_a_fact_about_the_domain_answers_for_its_other_addresses(reason: str) -> None:
    cache = Shelf().cache()
    verdict = replace(GONE, reason=reason)
    await cache.keep(BOB, verdict)
    assert (found := await cache.find(question("carol@sender.test", "probe@ringback.test"))) is not None
    assert found.verdict == verdict
    assert await cache.find(question("carol@other.test")) is None


async def test_a_pass_that_a_fact_about_the_domain_contradicts_answers_for_nobody_else() -> None:
    cache = Shelf().cache()
    await cache.keep(BOB, PASS)
    assert (await cache.keep(BOB, GONE)).verdict == PASS
    assert await cache.find(question("nobody@sender.test")) is None


async def test_a_fact_about_the_domain_ends() -> None:
    shelf = Shelf()
    cache = shelf.cache()
    await cache.keep(BOB, GONE)
    shelf.clock.now += 3600
    assert await cache.find(question("carol@sender.test")) is None


async def test_a_mark_on_a_domain_holds_for_its_time() -> None:
    shelf = Shelf()
    cache = shelf.cache()
    await cache.mark("catchall", "sender.test", 60.0)
    assert await shelf.cache().marked("catchall", "sender.test")
    assert not await cache.marked("null_refused", "sender.test")
    assert not await cache.marked("catchall", "other.test")
    shelf.clock.now += 60
    assert not await cache.marked("catchall", "sender.test")


# ---------------------------------------------------------------- expiry


async def test_an_expired_transient_still_counts_in_its_row() -> None:
    shelf = Shelf()
    first = await shelf.cache().keep(BOB, LATER)
    shelf.clock.now = first.expires + 3_500
    assert await shelf.cache().find(BOB) is None
    second = await shelf.cache().keep(BOB, LATER)
    assert (second.streak, second.expires - shelf.clock.now) == (1, 600)


async def test_a_transient_of_long_ago_is_forgotten() -> None:
    shelf = Shelf()
    first = await shelf.cache().keep(BOB, LATER)
    shelf.clock.now = first.expires + 3_600
    assert (await shelf.cache().keep(BOB, LATER)).streak == 0


@pytest.mark.parametrize("verdict", [PASS, FAIL, GONE, LATER])
async def test_nothing_outlives_its_life_in_the_store(verdict: CallbackVerdict) -> None:
    shelf = Shelf()
    record = await shelf.cache().keep(TAGGED, verdict)
    shelf.clock.now = record.expires + (Lives().transient_most if verdict is LATER else 0.0)
    assert await shelf.everything() == ""


async def test_what_another_version_kept_is_as_if_it_were_not_there() -> None:
    shelf = Shelf()
    await shelf.cache().keep(BOB, PASS)
    ((key, _),) = await shelf.store.scan()
    await shelf.store.put(key, b"{}", 60)
    assert await shelf.cache().find(BOB) is None
    assert (await shelf.cache().keep(BOB, FAIL)).verdict == FAIL


# ---------------------------------------------------------------- a clock that is set


class Set:
    """A cache of one worker on a store, by a time of day that jumps and a clock that does not."""

    def __init__(self) -> None:
        self.wall, self.ticking = Clock(2_000_000_000.0), Clock(500.0)
        self.store = MemoryStore(self.wall, ticking=self.ticking)

    def cache(self) -> CallbackCache:
        return CallbackCache(
            Lives(), self.store, most=100, shared=True, clock=self.wall, ticking=self.ticking
        )  # fmt: skip

    def pass_by(self, seconds: float) -> None:
        self.wall.now += seconds
        self.ticking.now += seconds


@pytest.mark.parametrize("jump", [-3600.0, -86400.0 * 365, 301.0, 86400.0 * 365], ids=lambda by: f"by{by:.0f}s")
async def test_a_verdict_in_memory_ages_by_no_time_of_day(jump: float) -> None:
    here = Set()
    cache = here.cache()
    await cache.keep(BOB, FAIL)
    here.wall.now += jump
    here.pass_by(59)
    assert (found := cache.at_hand(BOB)) is not None
    assert found.answer(cache.now()).age == 59.0
    here.pass_by(1)
    assert cache.at_hand(BOB) is None


@pytest.mark.parametrize("verdict", [PASS, FAIL, LATER, GONE], ids=lambda each: each.reason)
@pytest.mark.parametrize(("ahead", "believed"), [(299.0, True), (302.0, False), (86400.0 * 365, False)])
async def test_a_stored_verdict_is_believed_if_it_is_at_most_five_minutes_ahead(
    verdict: CallbackVerdict, ahead: float, believed: bool  # noqa: FBT001 - a parameter
) -> None:  # fmt: skip
    here = Set()
    await here.cache().keep(BOB, verdict)
    here.wall.now -= ahead
    assert (await here.cache().find(BOB) is not None) is believed


@pytest.mark.parametrize(
    ("verdict", "life"), [(PASS, 86400.0), (FAIL, 7200.0), (LATER, 3600.0), (GONE, 3600.0)], ids=lambda it: str(it)[:9]
)
async def test_what_was_stored_has_no_more_life_left_than_its_class(verdict: CallbackVerdict, life: float) -> None:
    here = Set()
    record = CachedVerdict(verdict, here.wall(), here.wall() + 100 * 86400.0)
    await here.store.put(here.cache().name_of(BOB), record.encoded(), 100 * 86400.0)
    cache = here.cache()
    assert (found := await cache.find(BOB)) is not None
    assert found.expires - cache.now() == life


@pytest.mark.parametrize(
    ("verdict", "life"), [(PASS, 86400.0), (FAIL, 7200.0), (LATER, 3600.0), (GONE, 3600.0)], ids=lambda it: str(it)[:9]
)
async def test_a_stored_verdict_does_not_live_on_by_being_read(verdict: CallbackVerdict, life: float) -> None:
    here = Set()
    record = CachedVerdict(verdict, here.wall(), here.wall() + 100 * 86400.0)
    await here.store.put(here.cache().name_of(BOB), record.encoded(), 100 * 86400.0)
    cache = here.cache()
    here.pass_by(life / 2)
    assert await cache.find(BOB) is not None
    here.pass_by(life / 2)
    assert await cache.find(BOB) is None
    assert await here.cache().find(BOB) is None  # nor for a worker that comes later


async def test_what_a_clock_ahead_has_stored_is_asked_anew_and_replaced() -> None:
    here = Set()
    here.wall.now += 86400.0 * 365
    await here.cache().keep(BOB, PASS)
    here.wall.now -= 86400.0 * 365
    cache = here.cache()
    assert await cache.find(BOB) is None
    assert (await cache.keep(BOB, FAIL)).verdict == FAIL  # no pass from the future is doubted first
    assert (found := await here.cache().find(BOB)) is not None
    assert found.verdict == FAIL


@pytest.mark.parametrize("fact", ["catchall", "null_refused", "no_probe"])
@pytest.mark.parametrize(("ahead", "believed"), [(0.0, True), (299.0, True), (302.0, False), (86400.0, False)])
async def test_a_fact_from_the_future_is_none(fact: str, ahead: float, believed: bool) -> None:  # noqa: FBT001 - a parameter
    here = Set()
    await here.cache().mark(fact, "sender.test", 3600.0)
    here.wall.now -= ahead
    assert await here.cache().marked(fact, "sender.test") is believed


async def test_a_fact_that_an_older_version_stored_is_believed_within_its_life() -> None:
    here = Set()
    cache = here.cache()
    await cache.mark("catchall", "sender.test", 60.0)
    ((key, _),) = await here.store.scan()
    for seconds, believed in ((7 * 86400.0, True), (8 * 86400.0, False)):
        await here.store.put(key, b"1", seconds)
        assert await here.cache().marked("catchall", "sender.test") is believed


# ---------------------------------------------------------------- privacy


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("bob.secret+news@sender.test", "5.1.1 <bob.secret+news@sender.test>: unknown bob.secret+news"),
        ("Bob.Secret@sender.test", "5.1.1 <bob.secret@SENDER.test>: unknown 'BOB.SECRET'"),
        ("b\u00fcb.secret@sender.test", "5.1.1 b?b.secret@sender.test"),
        (
            "bob.secret@sender.test",
            "5.1.1 %3Cbob%2Esecret%40sender.test%3E, bob+2Esecret, bob.secret&#64;sender.test",
        ),
    ],
)
@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL, Status.TRANSIENT])
async def test_with_a_secret_no_address_stands_in_the_store(address: str, text: str, status: Status) -> None:
    shelf = Shelf(secret=SECRET)
    asked = question(address, "probe.sender@ringback.test")
    await shelf.cache().keep(asked, CallbackVerdict(status, "accepted", text, "rcpt", 250))
    await shelf.cache().keep(asked, GONE)
    await shelf.cache().mark("catchall", "sender.test", 60)
    kept = (await shelf.everything()).lower()
    assert kept
    for part in ("secret", "probe", "ringback", "family", "news"):
        assert part not in kept
    assert "sender.test" not in " ".join(line.partition("{")[0] for line in kept.splitlines())
    assert asked.local_part not in shelf.cache().name_of(asked)
    assert await shelf.cache().find(asked) is not None


async def test_a_short_local_part_takes_no_words_apart() -> None:
    shelf = Shelf(secret=SECRET)
    asked = question("a@sender.test")
    await shelf.cache().keep(asked, replace(FAIL, text="5.1.1 a@sender.test is not a mailbox at all"))
    assert (found := await shelf.cache().find(asked)) is not None
    assert found.verdict.text == "5.1.1 <address> is not <user> mailbox at all"


async def test_another_secret_finds_nothing() -> None:
    shelf = Shelf(secret=SECRET)
    await shelf.cache().keep(BOB, PASS)
    shelf.secret = SECRET[::-1]
    assert await shelf.cache().find(BOB) is None


# ---------------------------------------------------------------- forgetting

ALL = (
    "bob@sender.test",
    "bob+one@sender.test",
    "bobby@sender.test",
    "bob@other.test",
    "x@gone.test",
    "y@gone.test",
)


async def filled(shelf: Shelf) -> CallbackCache:
    cache = shelf.cache()
    for address in ALL[:4]:
        await cache.keep(question(address), PASS)
    await cache.keep(question("x@gone.test"), GONE)
    await cache.mark("catchall", "sender.test", 600)
    await shelf.store.put("of somebody else", b"1", 600)
    return cache


async def left(cache: CallbackCache) -> set[str]:
    return {each for each in ALL if await cache.find(question(each)) is not None}


@pytest.mark.parametrize("secret", [b"", SECRET])
@pytest.mark.parametrize(
    ("local_part", "domain", "gone"),
    [
        ("bob", "sender.test", {"bob@sender.test"}),
        ("bob+one", "sender.test", {"bob+one@sender.test"}),
        ("nobody", "sender.test", set()),
        ("", "sender.test", set(ALL[:3])),
        ("", "gone.test", set(ALL[4:])),
        ("", "", set(ALL)),
    ],
)
async def test_an_address_a_domain_or_everything_is_forgotten(
    secret: bytes, local_part: str, domain: str, gone: set[str]
) -> None:
    shelf = Shelf(secret=secret)
    cache = await filled(shelf)
    await cache.purge(local_part, domain)
    for each in (cache, shelf.cache()):
        assert await left(each) == set(ALL) - gone
    assert await cache.marked("catchall", "sender.test") is (domain == "gone.test" or bool(local_part))
    assert await shelf.store.get("of somebody else") is not None


@pytest.mark.parametrize("local_part", ["bob", "bob+one"])
async def test_with_an_address_what_its_family_shares_is_forgotten(local_part: str) -> None:
    shelf = Shelf()
    cache = await filled(shelf)
    assert await cache.find(OTHER_TAG) is not None
    await cache.purge(local_part, "sender.test")
    assert await cache.find(OTHER_TAG) is None


async def test_what_one_worker_forgets_another_believes_for_a_minute_at_most() -> None:
    shelf = Shelf()
    here, there = await filled(shelf), shelf.cache()
    await there.find(BOB)
    await here.purge("bob", "sender.test")
    shelf.clock.now += LOCAL_SECONDS
    assert await there.find(BOB) is None


async def test_purging_tells_how_many_records_went_and_counting_how_many_there_are() -> None:
    cache = await filled(Shelf())
    assert await cache.count() == 6  # four, one of x@gone.test, and the family of bob+one
    assert await cache.purge("bobby", "sender.test") == 1
    assert await cache.purge("", "other.test") == 1
    assert await cache.count() == 4
