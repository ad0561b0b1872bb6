"""Checks of an `smtp_cbv` stanza beyond the syntax of its options."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from config.base.ip import plain_address
from config.base.regular_files import read_regular
from config.base.sources import read_source
from config.diagnostics import Diagnostic, Severity, Source, Span
from config.settings import ModuleSettings
from proxy.callback.classify import BadTable, Words
from proxy.mail.address import mailbox_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.outgoing.dial import family_of

_LONGEST_WAIT = 60.0
_SHORTEST_SECRET = 16


def mistakes(loaded: ModuleSettings, options: SmtpCbvOptions) -> Iterator[Diagnostic]:
    """Yield errors and warnings."""
    yield from _senders(loaded, options)
    yield from _own_addresses(loaded, options)
    yield from _files(loaded, options)
    yield from _authorities(loaded, options)
    yield from _store_on_this_machine(loaded, options)
    if options.wait > _LONGEST_WAIT:
        yield Diagnostic(
            f"Wait = {options.wait:g}s exceeds typical client patience",
            loaded.origin("wait") or loaded.span,
            hint="use a shorter Wait: the probe goes on after it, and its verdict is cached",
            severity=Severity.WARNING,
        )


def _senders(loaded: ModuleSettings, options: SmtpCbvOptions) -> Iterator[Diagnostic]:
    for name in ("mailfrom", "mailfrom_fallback"):
        sender = getattr(options, name).strip("<>")
        if sender and mailbox_of(sender) is None:
            yield Diagnostic(
                f"not a mail address: {sender}",
                loaded.origin(name) or loaded.span,
                hint="write local-part@domain, or omit the option for the null sender",
            )


def _own_addresses(loaded: ModuleSettings, options: SmtpCbvOptions) -> Iterator[Diagnostic]:
    place = loaded.origin("bind_address") or loaded.span
    families = []
    for address in options.bind_address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            yield Diagnostic(f"not an IP address: {address}", place)
        else:
            families.append(family_of(plain_address(address)))
    if any(one == other for one, other in pairwise(sorted(families))):
        yield Diagnostic("two addresses of the same family", place, hint="give one IPv4 and one IPv6 address at most")


def _files(loaded: ModuleSettings, options: SmtpCbvOptions) -> Iterator[Diagnostic]:
    if options.store_secret is not None:
        try:
            short = len(read_regular(options.store_secret).strip()) < _SHORTEST_SECRET
        except OSError as error:
            yield _unreadable("the secret", error, loaded, "store_secret")
        else:
            if short:
                yield Diagnostic(
                    f"the secret is shorter than {_SHORTEST_SECRET} octets",
                    loaded.origin("store_secret") or loaded.span,
                    hint="make one with: openssl rand -hex 32",
                )
    if options.reply_texts is not None:
        try:
            source = read_source(options.reply_texts)
            Words(source.text)
        except OSError as error:
            yield _unreadable("the table", error, loaded, "reply_texts")
        except BadTable as bad:
            yield Diagnostic(bad.problem, _span(source, bad))


def _authorities(loaded: ModuleSettings, options: SmtpCbvOptions) -> Iterator[Diagnostic]:
    """Check that the store's CA file can be read."""
    if options.store is not None and options.store.authorities:
        try:
            ssl.create_default_context(cafile=options.store.authorities)
        except OSError as error:  # ssl.SSLError is one
            yield _unreadable(f"the store's {options.store.authorities}", error, loaded, "store")


def _store_on_this_machine(loaded: ModuleSettings, options: SmtpCbvOptions) -> Iterator[Diagnostic]:
    """Warn if verdicts would be kept only in memory, because the store's file or socket is not accessible."""
    store = options.store
    if store is None or store.place not in {"file", "socket"}:
        return
    path = Path(store.path)
    if store.place == "file" and not os.access(path.parent, os.W_OK | os.X_OK):
        problem = f"{path.parent} is not a writable folder"
    elif store.place == "socket" and not path.is_socket():
        problem = f"{path} is not a socket now"
    else:
        return
    yield Diagnostic(
        f"{problem}: verdicts are kept in memory",
        loaded.origin("store") or loaded.span,
        hint="the user that runs Ringback must be able to write there",
        severity=Severity.WARNING,
    )


def _unreadable(what: str, error: OSError, loaded: ModuleSettings, option: str) -> Diagnostic:
    return Diagnostic(f"{what} cannot be read: {error.strerror or error}", loaded.origin(option) or loaded.span)


def _span(source: Source, bad: BadTable) -> Span:
    start = sum(len(line) for line in source.text.splitlines(keepends=True)[: bad.line - 1]) + bad.column
    rest = source.line(bad.line)[bad.column :]
    return Span(source, start, start + max(1, len(rest.split(" ", 1)[0]) if rest else 1))
