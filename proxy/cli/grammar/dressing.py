"""Gives every command of an application our own help and error messages."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup

from config.diagnostics import Diagnostic
from proxy.cli import exits
from proxy.cli.grammar import errors, help  # noqa: A004 — the command line's own word
from proxy.cli.grammar.tree import HELP, PROGRAM, Command, described


class Misused(typer.TyperException):
    """The command line is wrong."""

    exit_code = exits.COMMAND_LINE

    def __init__(self, found: Diagnostic, command: Command) -> None:
        """Say what is wrong with a command."""
        super().__init__(found.message)
        self.found, self.command = found, command


class _House:
    """What commands and groups share. typer prints an empty line after help of its own, hence the exits."""

    def format_help(self, ctx: Any, formatter: Any) -> NoReturn:  # noqa: ARG002 — typer's signature
        """Print our help, and end."""
        help.show(_described(ctx))
        raise typer.Exit

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse. An error of an option's form gets the command that it is about, which typer forgets."""
        try:
            parsed: list[str] = cast(Any, super()).parse_args(ctx, args)
        except typer.TyperException as wrong:
            if getattr(wrong, "ctx", ctx) is None:
                cast(Any, wrong).ctx = ctx
            raise
        return parsed


class HouseCommand(_House, TyperCommand):
    """A command whose help and errors are ours."""


class HouseGroup(_House, TyperGroup):
    """A group of commands. The outermost one runs the command line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show help without arguments, and help of a command below even if an option of this group is missing."""
        here = _described(ctx)
        if not args and self.no_args_is_help:
            help.show(here, stderr=True)
            raise typer.Exit(exits.COMMAND_LINE)
        if any(each.required for each in here.options) and set(HELP) & set(args):
            help.show(_below(here, args))
            raise typer.Exit
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command, or say which it could be."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise Misused(
                errors.unknown_command(args[0], _described(ctx), _described(ctx.find_root())), _described(ctx)
            )
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **more: Any) -> Any:
        """Run the command line, report its errors in the house's form, and exit."""
        more["standalone_mode"] = False
        try:
            status = super().main(args, prog_name or PROGRAM, *rest, **more)
        except Misused as wrong:
            _tell(wrong.found, wrong.command)
            status = wrong.exit_code
        except typer.TyperException as wrong:
            status = _told(wrong)
        except typer.Abort:
            exits.show([errors.stopped()])
            status = 1
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            status = exits.READER_GONE
        sys.exit(status if isinstance(status, int) else 0)


def dressed(application: typer.Typer) -> typer.Typer:
    """Give all commands that are registered by now our classes; `application` itself has `HouseGroup`."""
    for command in application.registered_commands:
        command.cls = HouseCommand
    for group in application.registered_groups:
        group.cls = HouseGroup
        if group.typer_instance is not None:
            dressed(group.typer_instance)
    return application


def _described(ctx: Any) -> Command:
    words = []
    at = ctx
    while at.parent is not None:
        words.append(at.info_name)
        at = at.parent
    return described(ctx.command, (PROGRAM, *reversed(words)))


def _below(group: Command, words: Sequence[str]) -> Command:
    """Return the command that these words name, as far as they name one."""
    for word in words:
        group = next((each for each in group.children if each.path[-1] == word), group)
    return group


def _told(wrong: typer.TyperException) -> int:
    """Print an error that typer found; return the exit status."""
    ctx: Any = getattr(wrong, "ctx", None)
    if ctx is None:
        exits.show([Diagnostic(errors.plain(wrong.format_message()))])
    else:
        command = _described(ctx)
        _tell(_diagnosed(wrong, ctx, command), command)
    return wrong.exit_code


def _tell(found: Diagnostic, command: Command) -> None:
    exits.show([found])
    sys.stderr.write(f"Usage: {command.usage}\n")


def _diagnosed(wrong: Any, ctx: Any, command: Command) -> Diagnostic:
    """Word what typer found. The kinds of its exceptions are told apart by their fields, which alone are stable."""
    name, parameter = getattr(wrong, "option_name", None), getattr(wrong, "param", None)
    if hasattr(wrong, "possibilities"):
        return errors.unknown_option(str(name), command)
    if name is not None:
        known = next((each for each in command.options if name in each.names), None)
        return errors.needs_value(name, known) if known and known.metavar else errors.takes_no_value(name)
    if parameter is not None:
        shown = (*command.arguments, *command.options)[
            [each.name for each in _in_order(ctx.command.params)].index(parameter.name)
        ]
        if hasattr(wrong, "param_type"):
            return errors.missing(shown)
        return errors.bad_value(_value(wrong), errors.plain(wrong.message), shown)
    if wrong.message.startswith("Got unexpected extra argument"):
        return errors.too_many(wrong.message.partition(") (")[2].removesuffix(")"))
    if wrong.message.startswith("Missing command"):
        return errors.no_command(command)
    return errors.other(wrong.message, command)


def _in_order(parameters: Sequence[Any]) -> list[Any]:
    """Return typer's parameters as `Command` has them: arguments, then options."""
    return sorted((each for each in parameters if not each.hidden), key=lambda each: each.param_type_name != "argument")


def _value(wrong: Any) -> str | None:
    """Return the value that was refused, if pydantic refused it."""
    found: list[Any] = getattr(wrong.__cause__, "errors", list)()
    return str(found[0]["input"]) if found else None
