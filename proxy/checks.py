"""What is wrong with a configuration beyond its own text: files it names that cannot be used. Part of loading.

Each finding is a diagnostic at the place that names the file, beside those of the language itself.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from config import Settings
from config.diagnostics import Diagnostic, Severity, Span
from proxy.modules.base import MailCreator, Prepared
from proxy.outbox.marks import read_key
from proxy.route import Route
from proxy.settings import CoreOptions
from proxy.smtp.client_certificate import ask
from proxy.smtp.entrance import Entrance
from proxy.smtp.passwords import BadPasswordFile, PasswordFile
from proxy.smtp.tls import Terms, certificate_of, terms_of


def outside(settings: Settings) -> Iterator[Diagnostic]:
    """Yield what the world outside the text makes impossible."""
    yield from _certificates(settings)
    yield from _endless(settings)
    yield from _injection(settings)
    yield from _authentication(settings)
    yield from _letter_key(settings)
    yield from _sockets(settings)


def outbox(settings: Settings, prepared: Iterable[Prepared]) -> Iterator[Diagnostic]:
    """Find that what Ringback makes itself has nowhere to wait."""
    folder = cast(CoreOptions, settings.core).state_directory
    if os.access(folder, os.W_OK | os.X_OK) and folder.is_dir():
        return
    for origin in outbox_wanted(settings, prepared):
        yield Diagnostic(
            f"messages of Ringback's own need an outbox, and {folder} is no folder that can be written",
            origin,
            hint="State_Directory names a folder of the user that runs Ringback",
        )
        return


def outbox_wanted(settings: Settings, prepared: Iterable[Prepared]) -> Iterator[Span | None]:
    """Yield the places that call for an outbox."""
    for each in prepared:
        if isinstance(each, MailCreator) and each.creates_mail is not None:
            yield each.creates_mail
    core = cast(CoreOptions, settings.core)
    if core.multi_recipient == "dsn":
        yield settings.core_origin("multi_recipient")
    layers = [settings.scopes.at(place) for place in settings.scopes.places]
    layers += [layer for listener in core.esmtp_listener for layer in listener.every_layer()]
    for layer in layers:
        if "multi_recipient" in layer and layer["multi_recipient"].value == "dsn":
            yield layer["multi_recipient"].origin


def _in_force(settings: Settings) -> Iterator[CoreOptions]:
    """Yield the options that are in force for anybody: for all, at each listener, for each network of its clients."""
    core = cast(CoreOptions, settings.core)
    yield core
    for listener in core.esmtp_listener:
        yield from Entrance(listener, settings).every_options()


def _endless(settings: Settings) -> Iterator[Diagnostic]:
    """Find clients whose sessions or messages nothing would end: the global scope's are refused when they are bound."""
    core = cast(CoreOptions, settings.core)
    layers = [layer for listener in core.esmtp_listener for layer in listener.every_layer()]
    for reason in {options.endless for options in _in_force(settings)} - {""}:
        zeros = [
            each.origin
            for layer in layers
            for name, each in layer.items()
            if name in {"idle_time", "session_time", "data_timeout", "min_data_rate"} and not each.value
        ]
        yield Diagnostic(reason, zeros[-1] if zeros else None)


def _certificates(settings: Settings) -> Iterator[Diagnostic]:
    seen: set[tuple[object, ...]] = set()
    for options in _in_force(settings):
        terms = terms_of(options)
        names = tuple(options.tls_server_names.items())
        named = (options.tls_certificate, options.tls_key, options.implicit_tls, names, terms)
        if named not in seen:
            seen.add(named)
            yield from _of_tls(options, terms, settings)


def _of_tls(options: CoreOptions, terms: Terms, settings: Settings) -> Iterator[Diagnostic]:
    """Find TLS that cannot be spoken."""
    if options.implicit_tls and options.tls_certificate is None:
        yield Diagnostic(
            "Implicit_TLS has no certificate to speak TLS with",
            settings.core_origin("implicit_tls"),
            hint="set TLS_Certificate and TLS_Key",
        )
    if terms.minimum > max(terms.protocols.spoken):
        yield Diagnostic(
            "TLS_Minimum_Version and TLS_Protocols leave no version to speak",
            settings.core_origin("tls_protocols"),
        )
        return
    if terms.asks != "nobody":
        try:
            ask(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), terms.authorities, required=False)
        except (OSError, ssl.SSLError) as error:
            yield Diagnostic(
                f"clients cannot be asked for certificates: {error.strerror or error}",
                settings.core_origin("tls_client_ca"),
                hint="TLS_Client_CA names a PEM file of the authorities that issue them",
            )
            return
    try:
        certificate_of(options)
    except (OSError, ssl.SSLError) as error:
        yield Diagnostic(
            f"the TLS certificate cannot be used: {error.strerror or error}",
            settings.core_origin("tls_certificate"),
            hint="TLS_Certificate and TLS_Key name PEM files that belong together",
        )


def _injection(settings: Settings) -> Iterator[Diagnostic]:
    """Say that commands behind STARTTLS are never done, whatever the configuration allows."""
    if any(options.starttls_injection_policy == "allow" for options in _in_force(settings)):
        yield Diagnostic(
            "Starttls_Injection_Policy = allow is never done: it rejects",
            settings.core_origin("starttls_injection_policy"),
            hint="whoever sits between could say commands in the client's name (CVE-2011-0411)",
            severity=Severity.WARNING,
        )


def _authentication(settings: Settings) -> Iterator[Diagnostic]:
    """Find AUTH that nobody could use."""
    seen: set[tuple[object, ...]] = set()
    for options in _in_force(settings):
        offered = options.tls_certificate is not None or options.authentication_without_tls
        named = (options.authentication, options.authentication_file, offered)
        if options.authentication == "no" or named in seen:
            continue
        seen.add(named)
        if not offered:
            yield Diagnostic(
                "AUTH is never offered: there is no TLS",
                settings.core_origin("authentication"),
                hint="set TLS_Certificate; Authentication_Without_TLS shows the passwords to anybody on the way",
                severity=Severity.WARNING,
            )
        if options.authentication == "file":
            yield from _password_file(options.authentication_file, settings)


def _password_file(path: Path | None, settings: Settings) -> Iterator[Diagnostic]:
    if path is None:
        yield Diagnostic("Authentication is `file`, and no file is named", settings.core_origin("authentication"))
        return
    try:
        PasswordFile(path)
    except (OSError, BadPasswordFile) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield Diagnostic(
            f"the password file cannot be used: {reason}",
            settings.core_origin("authentication_file"),
            hint="a line is `user:hash`, as `ringback password USER` prints it",
        )


def _letter_key(settings: Settings) -> Iterator[Diagnostic]:
    """Find a key of a site that cannot be read; unless one is named, a server makes its own."""
    path = cast(CoreOptions, settings.core).letter_key
    if path is None:
        return
    try:
        read_key(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield Diagnostic(
            f"the key of Ringback's own messages cannot be used: {reason}",
            settings.core_origin("letter_key"),
            hint="`openssl rand -hex 32` prints one; the same file belongs on every server of the site",
        )


def _sockets(settings: Settings) -> Iterator[Diagnostic]:
    """Find Unix sockets that are not there: a warning, since the server behind may start later."""
    seen: set[str] = set()
    for place in ((), *settings.scopes.places):
        for option in ("gateway", "routes"):
            setting = settings.scopes.get(option, place)
            value = cast(Route | tuple[Route, ...] | None, setting.value) if setting is not None else None
            for route in (value,) if isinstance(value, Route) else value or ():
                if route.is_socket and route.host not in seen and (missing := _missing(Path(route.host))):
                    seen.add(route.host)
                    yield Diagnostic(
                        f"{route.host} {missing}: mail for it is deferred",
                        setting.origin if setting is not None else None,
                        hint="start the server behind; this user must be able to enter the folder",
                        severity=Severity.WARNING,
                    )


def _missing(path: Path) -> str:
    """Return why no socket can be found there; empty where one is."""
    try:
        return "" if stat.S_ISSOCK(path.stat().st_mode) else "is no socket"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
