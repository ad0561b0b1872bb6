"""Checks that clients can use AUTH, and that people can log in to the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from config.diagnostics import Diagnostic, Severity, Span
from config.settings import Settings
from proxy.checks.places import in_force, origin_of
from proxy.options.core import CoreOptions
from proxy.options.inbound import InboundOptions
from proxy.smtp.passwords import BadPasswordFile, PasswordFile

_HINTS = {
    "hashes": "write lines of `user:hash`, as `ringback password USER` prints them",
    "clear": "write lines of `user:password`; hashes are safer: see Authentication_File_Form",
    "digest": "write lines of `user:realm:hash`, as htdigest does",
}


def offers_authentication(options: InboundOptions) -> bool:
    """Whether AUTH is ever offered. It needs TLS unless it is allowed without."""
    reachable = options.tls_certificate is not None or options.authentication_without_tls
    return options.authentication != "no" and reachable


def logins(settings: Settings) -> Iterator[Diagnostic]:
    """Yield what prevents AUTH from being offered, or every login from succeeding, also at the page."""
    seen: set[tuple[object, ...]] = set()
    for options in in_force(settings):
        named = (options.authentication, options.authentication_file, offers_authentication(options))
        if options.authentication == "no" or named in seen:
            continue
        seen.add(named)
        origin = origin_of(settings, "authentication", options.authentication)
        if not offers_authentication(options):
            yield Diagnostic(
                "AUTH is never offered without TLS",
                origin,
                hint="set TLS_Certificate; with Authentication_Without_TLS, passwords can be read on the network",
                severity=Severity.WARNING,
            )
        if options.authentication == "file":
            path = options.authentication_file
            named_at = origin_of(settings, "authentication_file", path)
            yield from _password_file(path, options.authentication_file_form, origin, named_at)
    page = cast(CoreOptions, settings.core).web_password_file
    if page is not None:
        yield from _password_file(page, "hashes", None, origin_of(settings, "web_password_file", page))


def _password_file(path: Path | None, form: str, asked_at: Span | None, named_at: Span | None) -> Iterator[Diagnostic]:
    if path is None:
        yield Diagnostic(
            "Authentication is `file`, but Authentication_File is not set", asked_at, hint="set Authentication_File"
        )
        return
    try:
        PasswordFile(path, form)
    except (OSError, BadPasswordFile) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield Diagnostic(
            f"the password file cannot be used: {reason}",
            named_at,
            hint=_HINTS[form],
        )
