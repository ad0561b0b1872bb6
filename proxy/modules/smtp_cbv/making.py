"""Builds a `CallbackService` from a stanza's options: with a store and a resolver, or with the way to the keeper.

Callbacks have their own resolver, so that slow name servers of remote domains never delay lookups of the next hop.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from config.base.domains import normal_domain
from config.base.ip import plain_address
from config.base.regular_files import read_regular
from config.base.sources import read_source
from proxy.base.listening import comes_to_us
from proxy.base.log import get_logger
from proxy.callback.around import Around, CallbackLimits, Spared
from proxy.callback.cache import CallbackCache
from proxy.callback.classify import Classifier, Words
from proxy.callback.limits.budgets import Breakers, Budgets, Neighbour, Storms
from proxy.callback.lives import Lives
from proxy.callback.manner import ProbeSettings
from proxy.callback.resolve import ExchangerFinder
from proxy.callback.service import CallbackService, Rules
from proxy.callback.verdict import Status
from proxy.callback.verifier import CallbackVerifier
from proxy.dns.resolver import Resolver
from proxy.keeper.client import ClientOptions, KeeperClient
from proxy.keeper.door import Calling
from proxy.keeper.messages import Hello
from proxy.keeper.verifying import Verifying
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.store import MEMORY, StoreUrl
from proxy.outgoing.dial import family_of
from proxy.store.base import Store
from proxy.store.opening import open_store

log = get_logger()

STORE_FILE = "callback.db"


def callbacks_of(
    options: SmtpCbvOptions,
    core: CoreOptions,
    *,
    upstream_down: Callable[[], bool] = lambda: False,
    resolver: Resolver | None = None,
) -> CallbackService:
    """Build the service from the stanza's options and the server's name; the caller closes it."""
    verifying = verifying_of(options, core, resolver)
    rules = rules_of(options, core)
    return CallbackService(verifying.verifier, rules, upstream_down, closing=verifying.closing)


def kept_callbacks_of(
    options: SmtpCbvOptions, core: CoreOptions, calling: Calling, *, upstream_down: Callable[[], bool]
) -> CallbackService[KeeperClient]:
    """Build the service of a worker that asks the keeper."""
    wanted = ClientOptions(
        options.wait, options.mailfrom.strip("<>"), options.cache_size, _secret(options.store_secret)
    )
    client = KeeperClient(wanted, calling.outside, Hello(calling.generation, calling.worker))
    return CallbackService(client, rules_of(options, core), upstream_down)


def verifying_of(
    options: SmtpCbvOptions, core: CoreOptions, resolver: Resolver | None = None, *, alone: bool = False
) -> Verifying:
    """Build what asks exchangers, in a worker or in the keeper, which is `alone` on its machine."""
    resolver = resolver or Resolver([str(each) for each in core.nameservers])
    url = store_of(options, core.state_directory)
    store = open_store(url)
    finder = ExchangerFinder(
        resolver,
        options.map,
        options.allow_networks,
        unroutable=Status(options.unroutable),
        is_us=lambda address: comes_to_us(address, options.port, core.esmtp_listener) is not None,
    )
    around = Around(
        finder=finder,
        manner=_manner(options, core.hostname),
        cache=cache_of(options, url, store),
        store=store,
        neighbour=Neighbour(_budgets(options), store),
        breakers=Breakers(options.breaker_time, time.monotonic),
        storms=Storms(options.forgery_storm, time.monotonic),
        spared=Spared(options.no_probe_domains, options.no_probe_exchangers, options.no_probe_networks),
        leases=not alone or url.is_for_machines,
    )
    limits = CallbackLimits(options.timeout, options.wait, options.max_probes, options.max_probes_per_mx)
    verifier = CallbackVerifier(around, limits, sender=options.mailfrom.strip("<>"))
    return Verifying(verifier, (store.close, resolver.close))


def rules_of(options: SmtpCbvOptions, core: CoreOptions) -> Rules:
    """Return which addresses are not asked about."""
    return Rules(
        enforce=options.enforce and not options.shadow,
        exempt_recipients=frozenset(each.lower() for each in options.exempt_recipients),
        skip_variables=options.skip_variables,
        reject_unprobed=options.dmarc_reject_unprobed,
        local_domains=core.relay_domains,
        is_routed=frozenset(map(normal_domain, options.map)).__contains__,
    )


def cache_of(options: SmtpCbvOptions, url: StoreUrl, store: Store) -> CallbackCache:
    """Build the cache of verdicts on top of the store opened from a URL."""
    return CallbackCache(
        lives_of(options),
        store,
        most=options.cache_size,
        shared=url.place != "process",
        secret=_secret(options.store_secret),
    )


def store_of(options: SmtpCbvOptions, folder: Path) -> StoreUrl:
    """Return the store's URL: as configured, else a file in the state folder if that is writable, else memory."""
    if options.store is not None:
        return options.store
    if folder.is_dir() and os.access(folder, os.W_OK):
        return StoreUrl("sqlite", path=str(folder / STORE_FILE))
    log.info("callbacks_in_memory", reason=f"{folder} is not a writable folder")
    return MEMORY


def lives_of(options: SmtpCbvOptions) -> Lives:
    """Return how long verdicts are valid."""
    return Lives(
        passed=options.cache_pass,
        failed=options.cache_fail,
        transient=options.cache_transient,
        transient_most=max(options.cache_transient_most, options.cache_transient),
        error=options.cache_error,
        domain=options.cache_domain,
    )


def _budgets(options: SmtpCbvOptions) -> Budgets:
    return Budgets(
        per_domain=options.probes_per_domain,
        per_exchanger=options.probes_per_mx,
        unknown_users=options.unknown_users_per_mx,
        per_client=options.probes_per_client,
        share=options.client_share,
    )


def _manner(options: SmtpCbvOptions, helo: str) -> ProbeSettings:
    # read exactly as when it was checked: a file that is not UTF-8, or starts with a BOM, is accepted
    own = Words(read_source(options.reply_texts).text) if options.reply_texts is not None else None
    return ProbeSettings(
        helo=helo,
        port=options.port,
        classifier=Classifier(own),
        tls=_opportunistic() if options.tls == "ifavailable" else None,
        bind={family_of(each): each for each in map(plain_address, options.bind_address)},
        fallback=options.mailfrom_fallback.strip("<>"),
        null_refused=Status(options.null_refused),
        catchall=options.catchall,
    )


def _opportunistic() -> ssl.SSLContext:
    """Return a context that accepts any certificate: a question about an address is not secret (RFC 7435)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _secret(path: Path | None) -> bytes:
    """Return the key of the hashes. BLAKE2 takes at most 64 bytes, so longer secrets are cut."""
    return b"" if path is None else read_regular(path).strip()[:64]
