"""How a fuzzer here runs, and what its cases are made of.

Each case has a seed of its own. By default there are few, and they are the same in each run. RINGBACK_FUZZ_SECONDS=N
makes new ones, for N seconds in each file; a case that fails says its seed, and RINGBACK_FUZZ_SEED=SEED plays it alone.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TypeVar

SECONDS = float(os.environ.get("RINGBACK_FUZZ_SECONDS", "0"))
SEED = os.environ.get("RINGBACK_FUZZ_SEED")

_T = TypeVar("_T", str, bytes)


def fuzz(judge: Callable[[random.Random], None], *, cases: int, share: float = 1.0) -> None:
    """Judge random cases: this number, or for its share of RINGBACK_FUZZ_SECONDS, or only RINGBACK_FUZZ_SEED."""
    count = 0
    for seed in _seeds(cases, SECONDS * share):
        try:
            judge(random.Random(seed))  # noqa: S311 - reproducible
        except BaseException as error:
            error.add_note(f"case {count}; RINGBACK_FUZZ_SEED={seed} plays it again")
            raise
        count += 1
    print(f"{judge.__qualname__}: {count} cases")  # noqa: T201 - pytest -rP shows it


def _seeds(cases: int, seconds: float) -> Iterator[str]:
    if SEED is not None:
        yield SEED
    elif not SECONDS:
        yield from map(str, range(cases))
    else:
        run = random.SystemRandom().getrandbits(32)
        yield from (f"{run}.{count}" for count in _until(seconds))


def fresh_seeds() -> Iterator[int]:
    """Yield new seeds for RINGBACK_FUZZ_SECONDS, none without it."""
    for _ in _until(SECONDS):
        fresh = random.SystemRandom().getrandbits(32)
        print(f"seed {fresh}")  # noqa: T201 - a test that fails shows it
        yield fresh


def _until(seconds: float) -> Iterator[int]:
    end = monotonic() + seconds
    for count in itertools.count():
        if monotonic() >= end:
            return
        yield count


def some(chance: random.Random, most: int) -> range:
    """Return a range to repeat something: often short, at times up to `most`."""
    return range(chance.randrange(1 + min(most, chance.choice((3, 10, most)))))


def joined(chance: random.Random, pieces: Sequence[_T], most: int) -> _T:
    """Return some of the pieces in a row."""
    return pieces[0][:0].join(chance.choice(pieces) for _ in some(chance, most))


def mutated(chance: random.Random, text: _T, pieces: Sequence[_T]) -> _T:
    """Return a text with a few stretches of it left out, doubled, moved, or replaced by one of the pieces."""
    for _ in range(chance.randrange(1, 6)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + int(chance.expovariate(0.1)))
        stretch, elsewhere = text[start:end], chance.randrange(len(text) + 1)
        other = chance.choice((text[:0], stretch * 2, text[elsewhere : elsewhere + 20], *[chance.choice(pieces)] * 3))
        text = text[:start] + other + text[end:]
    return text


def octets(chance: random.Random, most: int = 40) -> bytes:
    """Return a few octets of any kind."""
    return chance.randbytes(chance.randrange(most))


def cut(chance: random.Random, text: _T) -> list[_T]:
    """Return a text in pieces, cut anywhere."""
    places = sorted(chance.randrange(len(text) + 1) for _ in some(chance, 8))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]
