"""Look-ups for mail checks: recent answers are cached, and equal concurrent questions are asked once.

Checks ask the same things for many sessions: the same blocklists about the same client, the same policy of the same
domain. The resolver does not say how long a record lives, so answers are cached for a few minutes, and failures for
seconds. Callbacks do not use this: their verdicts have lives of their own.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from cachetools import TTLCache

from proxy.base.tasks import TaskOwner, spawn
from proxy.dns.noted import noting, tell

ANSWER_SECONDS = 300.0
"""How long an answer is believed, also that a name or record does not exist."""

FAILURE_SECONDS = 15.0
"""How long a name that had no clear answer is not asked again."""

MOST_ANSWERS = 20_000
MOST_FAILURES = 5_000

MOST_CHARACTERS = 16 << 20
"""Characters of all remembered records: a stranger's may have 64 KiB each."""

_LEAST_SIZE = MOST_CHARACTERS // MOST_ANSWERS

MOST_ASKED = 4_000
"""Concurrent questions. Beyond that, there is no clear answer: a name server that is silent must not fill the
memory."""

_SUCCESS, _NXDOMAIN, _TIMEOUT = "SUCCESS", "NXDOMAIN", "TIMEOUT"


class Answer(NamedTuple):
    """What DNS says: records, or none, or that there is no such name, or nothing clear."""

    status: str
    """`SUCCESS`, `NXDOMAIN`, or the failure."""
    records: tuple[str, ...] = ()

    @property
    def clear(self) -> bool:
        """Whether it says something about the name."""
        return self.status in {_SUCCESS, _NXDOMAIN}

    @property
    def exists(self) -> bool:
        """Whether the name may exist (RFC 8020)."""
        return self.status != _NXDOMAIN


TIMEOUT = Answer(_TIMEOUT)


def _size(answer: Answer) -> int:
    """Return how much of MOST_CHARACTERS an answer uses: its length, but at least an equal share."""
    return max(_LEAST_SIZE, sum([len(each) for each in answer.records]))


class AsksNames(Protocol):
    """The resolver, as far as it is used here."""

    async def lookup(self, name: str, record_type: str, server: str | None = None) -> tuple[str, list[str]]:
        """Return the status and the records."""
        ...


Question = tuple[str, str, str | None]


class Remembered:
    """Asks a resolver, and remembers. One for each worker."""

    def __init__(self, names: AsksNames) -> None:
        """`names` is the resolver."""
        self._names = names
        self._answers: TTLCache[Question, Answer] = TTLCache(MOST_CHARACTERS, ANSWER_SECONDS, getsizeof=_size)
        self._failures: TTLCache[Question, Answer] = TTLCache(MOST_FAILURES, FAILURE_SECONDS)
        self._asked: dict[Question, asyncio.Task[Answer]] = {}
        self._owner = TaskOwner("lookups")

    def known(self, name: str, record_type: str, server: str | None = None) -> Answer | None:
        """Return what is at hand."""
        question = (name, record_type, server)
        return self._answers.get(question) or self._failures.get(question)

    async def ask(self, name: str, record_type: str, server: str | None = None) -> Answer:
        """Return the answer. If the caller is cancelled, the question continues, for other callers and the cache."""
        question = (name, record_type, server)
        found = self._answers.get(question) or self._failures.get(question) or await self._asked_about(question)
        tell(record_type, name, server, found.status, found.records)
        return found

    async def _asked_about(self, question: Question) -> Answer:
        task = self._asked.get(question)
        if task is None:
            if len(self._asked) >= MOST_ASKED:
                return TIMEOUT
            task = self._asked[question] = spawn(self._find(question), name=f"look up {question[0]}", owner=self._owner)
        return await asyncio.shield(task)

    async def _find(self, question: Question) -> Answer:
        noting(None)  # each asker notes the answer
        try:
            status, records = await self._names.lookup(*question)
            answer = Answer(status, tuple(records))
            if not answer.clear:
                self._failures[question] = answer
            elif _size(answer) <= MOST_CHARACTERS:
                self._answers[question] = answer
            return answer
        finally:
            del self._asked[question]

    def forget(self, name: str, record_type: str, server: str | None = None) -> None:
        """Ask again the next time."""
        question = (name, record_type, server)
        self._answers.pop(question, None)
        self._failures.pop(question, None)

    def forget_name(self, name: str) -> int:
        """Forget what is known about a name, or, if it is empty, everything; return how many answers that were."""
        gone = 0
        for each in (self._answers, self._failures):
            for question in [known for known in each if not name or known[0].lower().rstrip(".") == name]:
                gone += each.pop(question, None) is not None
        return gone

    def __len__(self) -> int:
        return len(self._answers) + len(self._failures)

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._owner.cancel()
