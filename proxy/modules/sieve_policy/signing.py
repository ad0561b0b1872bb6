"""The settings of `ec_dkim_sign`, and the letters that it signs."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace

from proxy.dkim.tags import names_of
from proxy.mail.session import Letter
from sieve.run import reasons
from sieve.run.threads import ThreadPool, in_thread
from sieve.run.values import ScriptError

_DOMAIN = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){0,20}")
_NAME = re.compile(r"[!-9;-~]{1,100}")
_CANONS = ("simple", "relaxed")
_DIGESTS = ("rsa-sha256", "rsa-sha1", "ed25519-sha256")
_KNOWN = frozenset({
    "base_domain", "signing_domain", "selector", "identity", "header_canon", "body_canon", "digest", "headerlist",
    "keyfile", "keybuf", "body_length_limit", "lifetime",
})  # fmt: skip
_HOUR = 3600


async def sign(letters: list[Letter], told: Mapping[str, str]) -> None:
    """Sign all letters that a script has made so far.

    Raises:
        ScriptError: the settings are wrong, or the key cannot be used.
    """
    told = {name.lower(): value for name, value in told.items()}
    if unknown := sorted(told.keys() - _KNOWN):
        raise ScriptError(reasons.unknown_signing_key(unknown[0], sorted(_KNOWN)))
    letters[:] = await in_thread(ThreadPool.FILES, lambda: _signed(letters, told))


def _signed(letters: list[Letter], told: Mapping[str, str]) -> list[Letter]:
    from proxy.dkim import signing  # noqa: PLC0415 - cryptography takes 50 ms, and few scripts sign

    domain = _domain(told.get("signing_domain") or told.get("base_domain", ""), "base_domain")
    how = signing.Signing(
        domain=domain,
        selector=_domain(told.get("selector", ""), "selector"),
        identity=_identity(told.get("identity", ""), domain),
        header_canon=_one_of(told, "header_canon", _CANONS),
        body_canon=_one_of(told, "body_canon", _CANONS),
        names=_names(told["headerlist"]) if told.get("headerlist") else signing.USUAL,
        length=_number(told, "body_length_limit") or None,
        lifetime=_number(told, "lifetime") * _HOUR,
    )
    _one_of(
        told, "digest", _DIGESTS
    )  # rsa-sha1 is not made any more (RFC 8301), and the key decides between the others
    place = told.get("keyfile", "").replace("%{d}", domain).replace("%{s}", how.selector)
    try:
        key = signing.key_in(place) if place else signing.key_from(told.get("keybuf", "").encode())
    except OSError as error:
        raise ScriptError(reasons.unreadable_signing_key(place, error.strerror or "")) from None
    except signing.BadKey as bad:
        raise ScriptError(reasons.unreadable_signing_key(place or "keybuf", str(bad))) from None
    now = time.time()
    return [replace(each, content=signing.signed(each.content, key, how, now)) for each in letters]


def _domain(text: str, name: str) -> str:
    if _DOMAIN.fullmatch(text) is None:
        raise ScriptError(reasons.bad_signing_value(name, text))
    return text.lower()


def _identity(text: str, domain: str) -> str:
    where = text.rpartition("@")[2].lower()
    if text and (_NAME.fullmatch(text) is None or ";" in text or not f".{where}".endswith(f".{domain}")):
        raise ScriptError(reasons.bad_signing_value("identity", text))
    return text


def _names(text: str) -> list[str]:
    names = names_of(text)
    for each in names:
        if _NAME.fullmatch(each) is None or ";" in each:
            raise ScriptError(reasons.bad_signing_value("headerlist", each))
    return names


def _one_of(told: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    value = told.get(name, known[0]).lower()
    if value not in known:
        raise ScriptError(reasons.bad_signing_value(name, value))
    return value


def _number(told: Mapping[str, str], name: str) -> int:
    value = told.get(name, "0")
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise ScriptError(reasons.bad_signing_value(name, value))
    return int(value)
