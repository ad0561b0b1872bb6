"""What a prepared stanza may say of itself that the checks ask: whether it makes mail, whether it reads bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from config.diagnostics import Diagnostic, Span


@runtime_checkable
class MailCreator(Protocol):
    """A prepared stanza that may make messages of its own, which the outbox keeps."""

    @property
    def creates_mail(self) -> Span | None:
        """Where that is asked for; None where it is not."""
        ...


@runtime_checkable
class BodyReader(Protocol):
    """A prepared stanza that may read messages whole, which are held on disk beyond 1 MiB."""

    @property
    def reads_body(self) -> bool:
        """Whether it does, in any content phase."""
        ...


class Diagnosed(Protocol):
    """A prepared stanza, as far as checks need it."""

    @property
    def diagnostics(self) -> Sequence[Diagnostic]:
        """What is wrong with it, warnings included."""
        ...
