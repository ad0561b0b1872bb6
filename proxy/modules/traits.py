"""What checks ask of a stanza: whether it generates mail, reads bodies, or depends on this machine's files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from config.diagnostics import Diagnostic, Span


@runtime_checkable
class MailCreator(Protocol):
    """A prepared stanza that may make messages, which the outbox stores."""

    @property
    def creates_mail(self) -> Span | None:
        """The place that asks for it, or None."""
        ...


@runtime_checkable
class BodyReader(Protocol):
    """A prepared stanza that may read whole messages, which are kept on disk above 1 MiB."""

    @property
    def reads_body(self) -> bool:
        """Whether it does, in any content phase."""
        ...


@runtime_checkable
class LooksOutside(Protocol):
    """A prepared stanza that depends on this machine, so that only checks can find what is wrong."""

    def outside(self) -> Iterable[Diagnostic]:
        """Try what a worker would do with it, and yield what fails."""
        ...


class Diagnosed(Protocol):
    """A prepared stanza, as far as checks need it."""

    @property
    def diagnostics(self) -> Sequence[Diagnostic]:
        """What is wrong with it, warnings included."""
        ...


@runtime_checkable
class AsksDatasources(Protocol):
    """A prepared stanza whose scripts name datasources."""

    @property
    def datasources(self) -> Sequence[tuple[str, Span]]:
        """Their names, with the places that name them."""
        ...


@runtime_checkable
class NeedsDatasources(Protocol):
    """A prepared stanza whose options name datasources: without them, it cannot work."""

    @property
    def needed(self) -> Sequence[tuple[str, Span]]:
        """Their names, with the options that name them."""
        ...


@runtime_checkable
class CallsFunctions(Protocol):
    """A stanza with scripts."""

    @property
    def calls(self) -> frozenset[str]:
        """The functions that its scripts call."""
        ...
