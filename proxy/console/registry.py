"""`Commands`: every command, declared once, found by any unique prefix of its words."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from proxy.console.errors import Refused, ambiguous, not_understood, wrong_arguments
from proxy.console.people import Person, Role
from proxy.console.results import Result

LONGEST_LINE = 64 * 1024
"""Octets of a command."""


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a command: its arguments, and who gave it."""

    arguments: tuple[str, ...]
    by: Person
    as_json: bool = False
    texts: dict[str, str] = field(default_factory=dict)
    """The content of files that the person named, by name; their client has read them."""
    is_terminal: bool = False


Run: TypeAlias = Callable[[Call], Awaitable[Result]]
Follow: TypeAlias = Callable[[Call], AsyncGenerator[Result, None]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `run` answers once, `follow` until the person stops it."""

    words: str
    help: str
    run: Run | None = None
    follow: Follow | None = None
    arguments: str = ""
    """As in the help: `ID|CIDR`, `[NAME]`."""
    role: Role = Role.READ
    """The least role that may give the command. If it is more than READ, the command changes something."""
    secret: bool = False
    """Whether its arguments may be secret, so that the log has only its words."""

    @property
    def changes(self) -> bool:
        """Whether it changes something, so that the log and the history have it."""
        return self.role is not Role.READ

    @property
    def usage(self) -> str:
        """The command with its arguments."""
        return f"{self.words} {self.arguments}".rstrip()

    @property
    def fewest(self) -> int:
        """How many arguments it needs."""
        return sum(not each.startswith("[") for each in self.arguments.split())


@dataclass(frozen=True, slots=True)
class Found:
    """A command line: the command and its arguments."""

    command: Command
    arguments: tuple[str, ...]

    @property
    def line(self) -> str:
        """The command line in full words."""
        return shlex.join([*self.command.words.split(), *self.arguments])


class Commands:
    """The table."""

    def __init__(self, commands: Iterable[Command]) -> None:
        """Take the commands; two may not have the same words."""
        self._by_words: dict[tuple[str, ...], Command] = {}
        self.add(*commands)

    def add(self, *commands: Command) -> None:
        """Take more commands."""
        for command in commands:
            words = tuple(command.words.split())
            if words in self._by_words:
                raise ValueError(f"two commands are called {command.words}")
            self._by_words[words] = command

    def __iter__(self) -> Iterator[Command]:
        """Yield the commands by name."""
        return iter(sorted(self._by_words.values(), key=lambda each: each.words))

    def find(self, line: str) -> Found:
        """Return the command that a line means.

        Raises:
            Refused: no command is meant, or several may be, or its arguments are missing.
        """
        words = _split(line)
        left, used = list(self._by_words), 0
        for at, word in enumerate(words):
            nearer = _narrowed(left, at, word)
            if not nearer:
                break
            left, used = nearer, at + 1
        if not used:
            raise not_understood(" ".join(words[:1]), self._close(words))
        found = [each for each in left if len(each) == used] or left
        if len(found) > 1:
            raise ambiguous(" ".join(words[:used]), [" ".join(each) for each in sorted(found)])
        return self._with_arguments(found[0], words, used)

    def _with_arguments(self, words: tuple[str, ...], given: Sequence[str], used: int) -> Found:
        command, arguments = self._by_words[words], tuple(given[used:])
        if len(words) > used and arguments:
            raise not_understood(" ".join(given[: used + 1]), self._close(given))
        many = command.arguments.endswith("…") or "…]" in command.arguments
        if len(arguments) < command.fewest or (len(arguments) > len(command.arguments.split()) and not many):
            raise wrong_arguments(command.usage)
        return Found(command, arguments)

    def meant_by(self, line: str) -> list[Command]:
        """Return the commands whose words begin as a line says, for help."""
        words = line.lower().split()
        left = list(self._by_words)
        for at, word in enumerate(words):
            left = _narrowed(left, at, word)
        return sorted((self._by_words[each] for each in left), key=lambda each: each.words)

    def _close(self, words: Sequence[str]) -> list[str]:
        names = [" ".join(each) for each in self._by_words]
        line = " ".join(words[:2])
        return difflib.get_close_matches(line, names, 2, 0.6)


def _narrowed(left: list[tuple[str, ...]], at: int, word: str) -> list[tuple[str, ...]]:
    """Return the commands whose word at a place begins so; a whole word excludes longer ones."""
    name = word.lower().partition(":")[0]  # `sieve:sieve1 stats`, as in Momentum 3
    there = [each for each in left if len(each) > at]
    exact = [each for each in there if each[at] == name]
    return exact or [each for each in there if name and each[at].startswith(name)]


def _split(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise Refused(f"the quotes are not closed: {error}") from None
    if not words:
        raise Refused("no command was given")
    return words


def options_of(words: Sequence[str], known: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return `name=value` and `--name` arguments, and the others.

    Raises:
        Refused: a name is not known.
    """
    found: dict[str, str] = {}
    rest = []
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if name in known and (equals or word.startswith("--")):
            found[name] = value
        elif word.startswith("--") or (equals and name.isidentifier()):
            raise Refused(f"{word} is not known here; known are {', '.join(known)}")
        else:
            rest.append(word)
    return found, rest


__all__ = ["Any", "Call", "Command", "Commands", "Found"]
