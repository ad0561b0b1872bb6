"""What the scripts of a phase ask whoever counts for all: in one frame, and never with an answer that is not true."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.base.tasks import TaskOwner, spawn
from proxy.base.waiting import fail
from proxy.counting.base import CountingUnavailable
from proxy.counting.memory import MemoryCounting
from proxy.counting.operations import Greylist, Operation, Present, Sum
from proxy.history.asked import noted
from proxy.mail.address import path_of
from proxy.mail.session import Recipient, Session, Transaction
from proxy.mail.verdict import PASS, Verdict
from proxy.metrics.book import BOOK
from proxy.metrics.table import GREYLIST
from proxy.modules.greylist.greylister import Greylister, Whitelists
from proxy.modules.greylist.options import GreylistOptions
from proxy.modules.greylist.whitelists import ClientList, RecipientList
from proxy.modules.services import Names
from proxy.modules.sieve_policy import ahead as room
from proxy.modules.sieve_policy.counters import ScriptCounters, SessionCounters
from sieve.phases import Phase
from sieve.run.patience import settled
from sieve.run.values import ScriptError
from sieve.shared import SeriesName
from tests.sieve.plain_host import PlainSession, plain_counters

ADDRESS = bytes((192, 0, 2, 1))
SERIES = SeriesName("s", 300, 6)


@dataclass
class Keeper:
    """A counting that answers in the next turn of the loop. Each list is what one turn has sent."""

    memory: MemoryCounting = field(default_factory=lambda: MemoryCounting(lambda: 1000.0))
    frames: list[list[Operation[Any]]] = field(default_factory=list)
    down: bool = False
    _open: bool = False

    def ask(self, operation: Operation[Any]) -> asyncio.Future[Any]:
        self._note(operation)
        later: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(self._answer, operation, later)
        return later

    def tell(self, operation: Operation[Any]) -> None:
        self._note(operation)
        asyncio.get_running_loop().call_soon(self.memory.tell, operation)

    def _note(self, operation: Operation[Any]) -> None:
        if not self._open:
            self._open = True
            self.frames.append([])
            asyncio.get_running_loop().call_soon(self._sent)
        self.frames[-1].append(operation)

    def _sent(self) -> None:
        self._open = False

    def _answer(self, operation: Operation[Any], later: asyncio.Future[Any]) -> None:
        if self.down:
            fail(later, CountingUnavailable())
        else:
            later.set_result(self.memory.ask(operation))

    @property
    def asked(self) -> list[list[str]]:
        frames, self.frames = self.frames, []
        return [[type(each).__name__ for each in frame] for frame in frames]


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def counters(keeper: Keeper) -> ScriptCounters:
    return plain_counters(cast(Any, keeper))


def phase(counters: ScriptCounters, session: object | None = None, phase: Phase = Phase.CONNECT) -> SessionCounters:
    return SessionCounters(cast(Session, session or PlainSession()), counters, phase)


async def three(asking: SessionCounters, address: bytes = ADDRESS) -> list[int]:
    """Ask as a policy does: one after the other."""
    network = await settled(asking.series(SERIES, address, 24, 0, 5))
    one = await settled(asking.series(SERIES, address, 32, 0, 0))
    return [network, one, await settled(asking.connections(address, 24, listener=False))]


async def test_what_scripts_asked_about_a_client_leaves_in_one_frame_the_next_time(
    keeper: Keeper, counters: ScriptCounters
) -> None:
    phase(counters).add_to_series(SERIES, ADDRESS, 7, keep=False)
    assert await three(phase(counters)) == [7, 7, 0]
    assert keeper.asked == [["Add", "Sum"], ["Sum"], ["Present"]]
    assert await three(phase(counters)) == [7, 7, 0]
    assert keeper.asked == [["Sum", "Sum", "Present"]]
    other = PlainSession(client_ip="192.0.2.9")
    assert await three(phase(counters, other), bytes((192, 0, 2, 9))) == [7, 0, 0]
    assert keeper.asked == [["Sum", "Sum", "Present"]]


async def test_an_address_of_the_other_family_is_not_asked_about_with_this_ones_masks(
    keeper: Keeper, counters: ScriptCounters
) -> None:
    await three(phase(counters))
    session, address = PlainSession(client_ip="2001:db8::1"), bytes.fromhex("20010db8" + "0" * 23 + "1")
    assert await settled(phase(counters, session).series(SERIES, address, 64, 0, 5)) == 0
    assert keeper.asked[-1] == ["Sum"]


async def test_what_a_script_counts_itself_is_in_what_it_asks_afterwards(counters: ScriptCounters) -> None:
    await three(phase(counters))
    asking = phase(counters)
    assert await settled(asking.series(SERIES, ADDRESS, 24, 0, 5)) == 0
    asking.add_to_series(SERIES, ADDRESS, 2, keep=False)
    assert await settled(asking.series(SERIES, ADDRESS, 32, 0, 0)) == 2


async def test_an_answer_that_is_older_than_a_second_is_asked_again(
    keeper: Keeper, counters: ScriptCounters, monkeypatch: pytest.MonkeyPatch
) -> None:
    await three(phase(counters))
    monkeypatch.setattr(room, "FRESH_SECONDS", -1.0)
    assert keeper.asked
    await three(phase(counters))
    assert keeper.asked == [["Sum", "Sum", "Present"], ["Sum"], ["Present"]]


async def test_another_address_than_the_clients_is_asked_alone(keeper: Keeper, counters: ScriptCounters) -> None:
    await three(phase(counters), bytes((203, 0, 113, 1)))
    await three(phase(counters), bytes((203, 0, 113, 1)))
    assert keeper.asked == [["Sum"], ["Sum"], ["Present"]] * 2


async def test_scripts_that_compute_names_do_not_make_more_and_more_questions(
    keeper: Keeper, counters: ScriptCounters
) -> None:
    for number in range(50):
        await settled(phase(counters).series(SeriesName(f"s{number}", 300, 6), ADDRESS, 32, 0, 0))
    assert max(map(len, keeper.asked)) == room.MOST_HABITS


async def test_while_nobody_counts_the_question_fails_and_nothing_else(
    keeper: Keeper, counters: ScriptCounters
) -> None:
    await three(phase(counters))
    keeper.down = True
    asking = phase(counters)
    with pytest.raises(ScriptError):
        await settled(asking.series(SERIES, ADDRESS, 24, 0, 5))
    with pytest.raises(ScriptError):
        await settled(asking.series(SERIES, ADDRESS, 32, 0, 0))
    keeper.down = False
    assert await settled(asking.connections(ADDRESS, 24, listener=False)) == 0


async def test_what_rcpt_to_will_ask_is_at_hand_when_mail_from_has_asked(
    keeper: Keeper, counters: ScriptCounters
) -> None:
    session = PlainSession()
    counters.foresee(cast(Session, session))
    assert keeper.asked == []  # not asked yet
    await three(phase(counters, session, Phase.RCPTTO))
    keeper.frames.clear()
    counters.foresee(cast(Session, session))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking = phase(counters, session, Phase.RCPTTO)
    assert asking.series(SERIES, ADDRESS, 24, 0, 5) == 0  # at once, no coroutine
    assert asking.connections(ADDRESS, 24, listener=False) == 0
    assert keeper.asked == [["Sum", "Sum", "Present"]]
    await three(phase(counters, session, Phase.RCPTTO))  # the next recipient asks anew
    assert keeper.asked == [["Sum", "Sum", "Present"]]


async def test_a_session_that_ends_after_mail_from_leaves_nothing_behind(counters: ScriptCounters) -> None:
    await three(phase(counters, phase=Phase.RCPTTO))
    session = PlainSession()
    gone = weakref.ref(session)
    counters.foresee(cast(Session, session))
    del session
    assert gone() is None


async def test_a_client_that_does_not_wait_for_mail_from_waits_for_the_answer(
    keeper: Keeper, counters: ScriptCounters
) -> None:
    session = PlainSession()
    await three(phase(counters, session, Phase.RCPTTO))
    keeper.frames.clear()
    counters.foresee(cast(Session, session))
    assert await three(phase(counters, session, Phase.RCPTTO)) == [0, 0, 0]
    assert keeper.asked == [["Sum", "Sum", "Present"]]


async def test_questions_of_a_run_that_nobody_came_for_disturb_nobody(keeper: Keeper, counters: ScriptCounters) -> None:
    await three(phase(counters))
    keeper.down = True
    owner = TaskOwner("test")
    asked = spawn(_wait(phase(counters)), name="left", owner=owner)
    await asyncio.sleep(0)
    asked.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await owner.cancel()


async def _wait(asking: SessionCounters) -> None:
    await settled(asking.series(SERIES, ADDRESS, 24, 0, 5))


# ---------------------------------------------------------------- greylisting


@dataclass
class Mail:
    """A session at RCPT TO."""

    transaction: Transaction
    current_recipient: Recipient | None
    client_ip: str = "192.0.2.1"
    client_name: str | None = None
    can_relay: bool = False
    local: tuple[str, int] = ("198.51.100.1", 25)
    id: str = "s"
    transaction_id: str = "t"


@pytest.fixture
def mail() -> Mail:
    transaction = Transaction()
    transaction.reverse_path = path_of("a@sender.test")
    return Mail(transaction, Recipient(path_of("b@example.com")))


@pytest.fixture
def moment() -> list[float]:
    return [1000.0]


@pytest.fixture
def slow(moment: list[float]) -> Keeper:
    return Keeper(MemoryCounting(lambda: moment[0]))


def greylister(keeper: Keeper, **options: Any) -> Greylister:
    listed = Whitelists(ClientList(), RecipientList())
    return Greylister("g", GreylistOptions(**options), listed, cast(Any, keeper), cast(Names, None))


async def policy(counters: ScriptCounters, greylist: Greylister, mail: Mail) -> float:
    """Ask as a policy does: a count, then the greylist."""
    asking = phase(counters, mail, Phase.RCPTTO)
    await settled(asking.series(SERIES, ADDRESS, 24, 0, 5))
    asking.ahead.will_look("g", greylist.look)
    assert mail.current_recipient is not None
    return await settled(greylist.wait_for(cast(Session, mail), [mail.current_recipient.path], asking.ahead))


async def test_mail_that_passes_greylisting_waits_once_and_is_counted(
    slow: Keeper, moment: list[float], mail: Mail
) -> None:
    counters, greylist = plain_counters(cast(Any, slow)), greylister(slow)
    assert await policy(counters, greylist, mail) == 60.0
    moment[0] += 30.0
    slow.frames.clear()
    assert await policy(counters, greylist, mail) == 30.0
    assert slow.asked == [["Sum", "Greylist"], ["Greylist"]]  # a look does not pass, so an attempt is made
    moment[0] += 30.0
    for number in (1, 2):
        slow.frames.clear()
        assert await policy(counters, greylist, mail) == 0.0
        looked, attempt = [each for frame in slow.frames for each in frame if isinstance(each, Greylist)]
        assert (looked.look, attempt.look) == (True, False)
        assert len(slow.frames) == 2  # the second needs no answer
        await asyncio.sleep(0)
        assert slow.memory.ask(attempt).passed == number + 1
        slow.memory.triplets.adopt(("greylist g", attempt.key), (1000.0, moment[0], number, moment[0] + 1e6))


async def test_a_look_is_no_attempt(slow: Keeper, mail: Mail) -> None:
    look = greylister(slow).look(cast(Session, mail))
    assert look is not None
    assert [slow.memory.ask(look).wait for _ in range(3)] == [60.0, 60.0, 60.0]
    assert slow.memory.sizes()["triplets"] == 0


async def test_a_known_client_passes_without_a_question_until_the_worker_asks_again(slow: Keeper, mail: Mail) -> None:
    counters, greylist = plain_counters(cast(Any, slow)), greylister(slow, whitelist_after=2)
    slow.memory.triplets.adopt_client(("greylist g", b"192.0.2.0/24"), (2, 1e9))
    assert await policy(counters, greylist, mail) == 0.0
    slow.frames.clear()
    assert await policy(counters, greylist, mail) == 0.0
    assert slow.asked == [["Sum"]]
    assert greylist.look(cast(Session, mail)) is None


async def test_the_history_has_the_answer_however_it_came_and_the_metric_says_why_mail_passed(
    slow: Keeper, moment: list[float], mail: Mail
) -> None:
    counters, greylist = plain_counters(cast(Any, slow)), greylister(slow, whitelist_after=2)
    passed, known = (GREYLIST.at(each) for each in ("passed", "known_client"))

    async def asked() -> tuple[list[Any], int, int]:
        before = BOOK.counts[passed], BOOK.counts[known]

        async def judge() -> Verdict:
            await policy(counters, greylist, mail)
            return PASS

        with capture_logs() as logs:
            await settled(cast(Any, noted(Phase.RCPTTO, lambda _session: judge())(cast(Session, mail))))
        (answers,) = [each["asked_outside"] for each in logs if each["event"] == "answers"]
        told = [each[4] for each in answers if each[0] == "greylist"]
        return told, BOOK.counts[passed] - before[0], BOOK.counts[known] - before[1]

    assert await asked() == ([60.0], 0, 0)
    moment[0] += 60.0
    assert await asked() == ([0.0], 1, 0), "a look has found that it passes"
    slow.memory.triplets.adopt_client(("greylist g", b"192.0.2.0/24"), (2, 1e9))
    assert await asked() == ([0.0], 0, 1), "a look has found that the client is known"
    await asyncio.sleep(0)  # what it told has left
    slow.frames.clear()
    assert await asked() == ([0.0], 0, 1), "the worker knows it"
    assert not [each for frame in slow.frames for each in frame if isinstance(each, Greylist)]


def test_only_questions_that_change_nothing_are_asked_ahead() -> None:
    assert (Sum, Present) == room.ASKED_AHEAD
