"""Checks that clients can use AUTH, and that people can log in to the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from config.diagnostics import NOT_ENFORCED, Diagnostic, Severity, Span
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
        if options.authentication == "datasource":
            named_at = origin_of(settings, "authentication_scheme", options.authentication_scheme)
            yield from _scheme(options.authentication_scheme, cast(CoreOptions, settings.core), named_at or origin)
    page = cast(CoreOptions, settings.core).web_password_file
    if page is not None:
        yield from _password_file(page, "hashes", None, origin_of(settings, "web_password_file", page))


def _scheme(name: str, core: CoreOptions, named_at: Span | None) -> Iterator[Diagnostic]:
    known = [each.name for each in core.login_schemes]
    if not name:
        yield Diagnostic(
            "Authentication is `datasource`, but Authentication_Scheme is not set",
            named_at,
            hint="set Authentication_Scheme to a scheme of auth_ds",
        )
    elif name.lower() not in known:
        yield Diagnostic(
            f"no auth_ds stanza declares the scheme `{name}`: each login gets 454",
            named_at,
            hint=f"the schemes are: {', '.join(known)}"
            if known
            else "write auth_ds { Scheme … { Authenticate { … } } }",
            severity=Severity.WARNING,
            code=NOT_ENFORCED,
        )


def schemes(settings: Settings) -> Iterator[Diagnostic]:
    """Yield the schemes whose datasource does not exist."""
    core = cast(CoreOptions, settings.core)
    known = [each.name for each in core.datasource]
    for scheme in core.login_schemes:
        if scheme.cache not in known:
            yield Diagnostic(
                f"the scheme `{scheme.name}` of auth_ds asks the datasource `{scheme.cache}`, which does not exist",
                settings.core_origin("login_schemes"),
                hint=f"the datasources are: {', '.join(known)}" if known else "write a Datasource stanza",
            )


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
