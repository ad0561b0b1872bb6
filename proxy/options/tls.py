"""The TLS options of both sides, and the value type of `TLS_Protocols`: which of TLS 1.2 and 1.3 to use.

Like Momentum, `TLS_Protocols` accepts the names SSL 2 to TLS 1.1, but these versions are never used (RFC 8996).
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Annotated

from config.errors import gnutls_priorities, not_a
from config.language.nodes import String, Value, Word
from config.schema.options import Options, option
from config.schema.readers import NotOurs, ReadContext, Unreadable, ValueReader, scalar
from config.schema.values import ConfigPath
from proxy.options.scopes import BOTH

_SPOKEN = frozenset({ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3})
_NAMES = {
    "all": _SPOKEN,
    "tlsv1.2": frozenset({ssl.TLSVersion.TLSv1_2}),
    "tlsv1.3": frozenset({ssl.TLSVersion.TLSv1_3}),
    **dict.fromkeys(("sslv2", "sslv3", "tlsv1", "tlsv1.0", "tlsv1.1"), frozenset[ssl.TLSVersion]()),
}
_STEP = re.compile(r"([+-]?)([A-Za-z0-9.]+)")
_GNUTLS = re.compile(r"(?:NORMAL|PERFORMANCE|PFS|LEGACY|SECURE\d*|SUITEB\d+)(?:$|:)")
"""How GnuTLS's priorities begin; no name of OpenSSL's does."""

_HINT = 'write names with + or - before them, such as "+ALL:-TLSv1.2"; only TLSv1.2 and TLSv1.3 are used'


@dataclass(frozen=True, slots=True)
class Protocols:
    """The enabled versions (at least one), and the text that they were read from."""

    spoken: frozenset[ssl.TLSVersion]
    text: str

    def __str__(self) -> str:
        return self.text

    def apply_to(self, context: ssl.SSLContext) -> None:
        """Restrict a context to these versions. Versions that it already forbids stay forbidden."""
        context.minimum_version = max(context.minimum_version, min(self.spoken))
        context.maximum_version = max(self.spoken)


ALL_PROTOCOLS = Protocols(_SPOKEN, "+ALL")


def _read(value: Value, _reading: ReadContext) -> Protocols:
    text = value.text if isinstance(value, Word | String) else ""
    steps = [_STEP.fullmatch(each.strip()) for each in text.split(":")]
    # A list that begins with `-` subtracts from all versions, as in OpenSSL's configuration.
    spoken = _SPOKEN if text.lstrip().startswith("-") else frozenset[ssl.TLSVersion]()
    for step in steps:
        if step is None or step[2].lower() not in _NAMES:
            raise Unreadable(not_a("a list of protocols", text, value.span, _HINT))
        named = _NAMES[step[2].lower()]
        spoken = spoken - named if step[1] == "-" else spoken | named
    if not spoken:
        raise Unreadable(not_a("a list of protocols that leaves one enabled", text, value.span, _HINT))
    return Protocols(spoken, text)


ProtocolsValue = Annotated[Protocols, ValueReader(_read, "protocols, `+ALL:-NAME`", write=lambda value: f'"{value}"')]


def _read_ciphers(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a text").text
    if _GNUTLS.match(text):
        raise NotOurs(gnutls_priorities(text, value.span))
    return text


CiphersValue = Annotated[str, ValueReader(_read_ciphers, "a text")]


class TlsOptions(Options):
    """TLS options for clients and for next hops."""

    tls_certificate: ConfigPath | None = option(
        None, doc="PEM file with our certificate and its chain. If set, clients are offered STARTTLS.", scopes=BOTH
    )
    tls_key: ConfigPath | None = option(
        None, doc="PEM file with the key of TLS_Certificate. Default: the same file.", secret=True, scopes=BOTH
    )
    tls_ciphers: CiphersValue = option(
        "", doc="Ciphers up to TLS 1.2, in OpenSSL's syntax. Default: OpenSSL's choice.", scopes=BOTH
    )
    tls_protocols: ProtocolsValue = option(
        ALL_PROTOCOLS,
        doc="TLS versions to enable (`+`) or disable (`-`). Only TLSv1.2 and TLSv1.3 are ever used.",
        scopes=BOTH,
    )
