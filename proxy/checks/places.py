"""Where options are set, and which options apply to which clients. All checks use this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from config.diagnostics import Diagnostic, Span
from config.scopes.places import Setting
from config.settings import Settings
from proxy.options.core import CoreOptions
from proxy.options.inbound import InboundOptions
from proxy.smtp.entrance import Entrance


def in_force(settings: Settings) -> Iterator[InboundOptions]:
    """Yield every set of options in force: the global one, each listener's, and each client network's."""
    core = cast(CoreOptions, settings.core)
    yield core
    for listener in core.esmtp_listener:
        yield from Entrance(listener, settings).every_options()


def everywhere(settings: Settings, option: str) -> Iterator[Setting]:
    """Yield each setting of an option: at the top of the file, in each scope, listener and client network."""
    for place in ((), *settings.scopes.places):
        setting = settings.scopes.get(option, place)
        if setting is not None:
            yield setting
    for listener in cast(CoreOptions, settings.core).esmtp_listener:
        yield from (layer[option] for layer in listener.every_layer() if option in layer)


def origin_of(settings: Settings, option: str, value: object) -> Span | None:
    """Return where an option is set to this value; None if it is the default."""
    return next((each.origin for each in everywhere(settings, option) if each.value == value), None)


def once(diagnostics: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield each message once per place, even if many clients share the setting."""
    said: set[tuple[str, int, int]] = set()
    for diagnostic in diagnostics:
        span = diagnostic.span
        key = (diagnostic.message, *((-1, -1) if span is None else (id(span.source), span.start)))
        if key not in said:
            said.add(key)
            yield diagnostic


def within(origin: Span | None, text: str) -> Span | None:
    """Return the part of a value that reads `text`, such as one item of a list; the whole if not found."""
    at = -1 if origin is None else origin.text.find(text)
    if origin is None or at < 0:
        return origin
    return Span(origin.source, origin.start + at, origin.start + at + len(text))
