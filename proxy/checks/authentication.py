"""AUTH that nobody could use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from config.diagnostics import Diagnostic, Severity, Span
from config.settings import Settings
from proxy.checks.places import in_force, origin_of
from proxy.options.inbound import InboundOptions
from proxy.smtp.passwords import BadPasswordFile, PasswordFile


def offers_authentication(options: InboundOptions) -> bool:
    """Whether clients can log in at all: AUTH waits for TLS unless it is allowed in the clear."""
    reachable = options.tls_certificate is not None or options.authentication_without_tls
    return options.authentication != "no" and reachable


def logins(settings: Settings) -> Iterator[Diagnostic]:
    """Yield what keeps AUTH from being offered, or everybody from passing it."""
    seen: set[tuple[object, ...]] = set()
    for options in in_force(settings):
        named = (options.authentication, options.authentication_file, offers_authentication(options))
        if options.authentication == "no" or named in seen:
            continue
        seen.add(named)
        origin = origin_of(settings, "authentication", options.authentication)
        if not offers_authentication(options):
            yield Diagnostic(
                "AUTH is never offered: there is no TLS",
                origin,
                hint="set TLS_Certificate; Authentication_Without_TLS shows the passwords to anybody on the way",
                severity=Severity.WARNING,
            )
        if options.authentication == "file":
            path = options.authentication_file
            yield from _password_file(path, origin, origin_of(settings, "authentication_file", path))


def _password_file(path: Path | None, asked_at: Span | None, named_at: Span | None) -> Iterator[Diagnostic]:
    if path is None:
        yield Diagnostic(
            "Authentication is `file`, and no file is named", asked_at, hint="set Authentication_File as well"
        )
        return
    try:
        PasswordFile(path)
    except (OSError, BadPasswordFile) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield Diagnostic(
            f"the password file cannot be used: {reason}",
            named_at,
            hint="a line is `user:hash`, as `ringback password USER` prints it",
        )
