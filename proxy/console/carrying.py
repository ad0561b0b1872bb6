"""`Carrying`: carries out commands for one person, and logs changes and refusals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from proxy.base.log import get_logger, printable
from proxy.console.errors import Refused, not_authorized
from proxy.console.people import Person
from proxy.console.registry import Call, Command, Commands, Found
from proxy.console.results import Result

log = get_logger()

COMMAND_SECONDS = 60.0
"""Longest run of a command that does not follow something."""


@dataclass(frozen=True, slots=True)
class Carrying:
    """The commands, and who gives them."""

    commands: Commands
    person: Person

    def found(self, line: str, reason: str) -> Found:
        """Return the command that a line means.

        Raises:
            Refused: there is no such command, or the person may not use it.
        """
        found = self.commands.find(line)
        if not self.person.may(found.line, found.command.role):
            self.tell(found, reason, "not authorized")
            raise not_authorized()
        return found

    async def once(self, found: Found, call: Call, reason: str) -> Result:
        """Carry out a command that answers once.

        Raises:
            Refused: it cannot be carried out.
        """
        try:
            result = await _run(found.command, call)
        except Refused as refused:
            if found.command.changes:
                self.tell(found, reason, str(refused))
            raise
        if found.command.changes:
            self.tell(found, reason, "done")
        return result

    def tell(self, found: Found, reason: str, outcome: str) -> None:
        """Log a command."""
        command = found.command.words if found.command.secret else printable(found.line)
        log.info(
            "console_command",
            user=printable(self.person.name),
            command=command,
            reason=reason,
            outcome=printable(outcome),
        )


async def _run(command: Command, call: Call) -> Result:
    assert command.run is not None  # noqa: S101 — a programmer's mistake
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            return await command.run(call)
    except TimeoutError:
        raise Refused(f"{command.words} took more than {COMMAND_SECONDS:.0f} s") from None
    except Refused:
        raise
    except Exception as error:
        raise failed(command, error) from error


def failed(command: Command, error: Exception) -> Refused:
    """Log a fault of ours, and return the answer for the person."""
    log.error("console_failed", command=command.words, exc_info=error)
    return Refused(f"{command.words} failed: {type(error).__name__}; the log says more")
