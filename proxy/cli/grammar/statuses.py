"""Every exit status, declared once: docs/commands.md and the man pages show this table."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.cli import exits


@dataclass(frozen=True, slots=True)
class Status:
    """What a status means."""

    number: int
    commands: tuple[str, ...]
    """Which commands exit with it, as typed after `ringback`; none means all."""
    meaning: str

    def concerns(self, name: str) -> bool:
        """Whether a command may exit with it, or one below it."""
        return not self.commands or any(_begins(name, each) or _begins(each, name) for each in self.commands)


STATUSES = (
    Status(0, (), "done: no errors found"),
    Status(0, ("serve",), "ended by SIGTERM or SIGINT"),
    Status(0, ("probe",), "all addresses `pass`"),
    Status(0, ("status",), "the server is ready"),
    Status(1, ("cache lookup",), "nothing is stored"),
    Status(1, ("config get",), "the scope does not set the option"),
    Status(
        1,
        ("status",),
        "with `--strict`: ready, but a next hop, a store or a worker is down, or the last reload was rejected",
    ),
    Status(1, ("why", "history export"), "the history has nothing about it"),
    Status(1, ("docs",), "with `--check`: a page is stale"),
    Status(1, ("demo",), "with `--once`: a sample did not go as expected"),
    Status(1, ("password",), "stopped before a password was given"),
    Status(exits.COMMAND_LINE, (), "wrong command line: unknown command or option, missing or wrong value"),
    Status(exits.COMMAND_LINE, ("status",), "it is not ready, or does not run"),
    Status(
        exits.USAGE,
        ("config", "sieve", "password", "cache", "why"),
        "an argument is wrong, for example not an address",
    ),
    Status(exits.USAGE, ("probe",), "an argument is not an address; with `--file`, the other addresses were probed"),
    Status(exits.SCRIPT, ("sieve",), "the script has errors or failed at run time"),
    Status(exits.SCRIPT, ("probe",), "at least one address is a `fail`"),
    Status(exits.NO_INPUT, ("sieve", "probe", "config init"), "a file cannot be read"),
    Status(exits.UNAVAILABLE, ("serve",), "something required is unavailable, such as a port in use"),
    Status(exits.UNAVAILABLE, ("probe",), "no `fail`, but some `transient` or `error`"),
    Status(exits.UNAVAILABLE, ("cache",), "the store is unavailable"),
    Status(exits.UNAVAILABLE, ("why", "history"), "the history's files cannot be read or changed"),
    Status(exits.SOFTWARE, ("serve",), "no worker could be started"),
    Status(exits.CANNOT_CREATE, ("config init",), "the file exists, or cannot be written"),
    Status(exits.CANNOT_WRITE, (), "standard output cannot be written, for example because the disk is full"),
    Status(exits.CONFIGURATION, (), "the configuration or a script it loads has errors or cannot be read"),
    Status(exits.INTERRUPTED, (), "interrupted by Control-C"),
    Status(exits.READER_GONE, (), "the reader of standard output has gone, as with `head`"),
)


def _begins(name: str, prefix: str) -> bool:
    return f"{name} ".startswith(f"{prefix} ")
