"""The TLS context towards an upstream, by its options."""

from __future__ import annotations

import ssl
from functools import lru_cache
from pathlib import Path

from config.base.regular_files import require_regular
from proxy.options.outbound import OutboundOptions
from proxy.options.tls import Protocols


@lru_cache(maxsize=64)
def _context(
    verify: str, authority: Path | None, certificate: Path | None, key: Path | None, ciphers: str, protocols: Protocols
) -> ssl.SSLContext:
    require_regular(authority, certificate, key)
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    protocols.apply_to(context)
    if verify != "host":
        context.check_hostname = False
    if verify in ("no", "optional"):
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate, key or certificate, password="")  # or OpenSSL asks the terminal
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def context_of(policy: OutboundOptions) -> ssl.SSLContext:
    """Return the TLS context of an upstream's options.

    Raises:
        OSError, ssl.SSLError: a file that is named cannot be used.
    """
    files = policy.tls_ca, policy.tls_certificate, policy.tls_key
    return _context(policy.tls_verify, *files, policy.tls_ciphers, policy.tls_protocols)
