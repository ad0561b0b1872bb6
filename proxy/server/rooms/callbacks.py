"""Questions about callbacks and DNS answers, where the verifier is: in the keeper, or in the only worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from proxy.base.log import printable
from proxy.callback.question import NoCandidate, ascii_domain
from proxy.callback.verifier import CallbackVerifier
from proxy.keeper.client import KeeperClient
from proxy.mail.address import mailbox_of
from proxy.server.answering import Question, Unanswerable
from proxy.store.base import StoreUnavailable

_MOST_ROWS = 2000


def questions(verifier: CallbackVerifier) -> dict[str, Question]:
    """Return the questions to a verifier."""
    return {
        "cbv_stats": lambda _given: _stats(verifier),
        "cbv_lookup": lambda given: _lookup(verifier, given),
        "cbv_forget": lambda given: _forget(verifier, given),
        "cbv_in_flight": lambda _given: _in_flight(verifier),
        "cbv_breakers": lambda _given: _breakers(verifier),
        "cbv_storms": lambda _given: _storms(verifier),
        "dns_lookup": lambda given: _dns(verifier, given),
        "dns_flush": lambda given: verifier.around.finder.names.forget(str(given.get("name", ""))),
        "dns_stats": lambda _given: {"elements": len(verifier.around.finder.names)},
    }


def questions_in_front(client: KeeperClient) -> dict[str, Question]:
    """Return what a worker answers that remembers the keeper's verdicts."""

    def forget(_given: Mapping[str, Any]) -> int:
        client.forget()
        return 0

    return {"cbv_forget": forget, "cbv_front": lambda _given: client.remembered}


async def _stats(verifier: CallbackVerifier) -> dict[str, Any]:
    cache = verifier.cache
    try:
        stored: int | None = await cache.count()
    except StoreUnavailable:
        stored = None
    return {
        "verdicts_in_memory": cache.entries,
        "octets_in_memory": cache.octets,
        "verdicts_stored": stored,
        "probes_in_flight": len(verifier.in_flight),
        "most_probes": verifier.most_probes,
        "breakers_open": len(_breakers(verifier)),
        "storms": len(_storms(verifier)),
    }


async def _lookup(verifier: CallbackVerifier, given: Mapping[str, Any]) -> dict[str, Any]:
    local_part, domain = parts(str(given["subject"]))
    try:
        records = await verifier.cache.held(domain, local_part)
        facts = [] if local_part else await verifier.cache.facts(domain)
    except StoreUnavailable as error:
        raise Unanswerable(f"the store cannot be read: {error.reason}") from None
    now = time.time()
    rows = []
    for record in records[:_MOST_ROWS]:
        verdict = record.answer(now)
        rows.append(
            {
                "status": verdict.status.value,
                "reason": verdict.reason,
                "code": verdict.code,
                "text": printable(verdict.text),
                "exchanger": printable(verdict.exchanger),
                "found_seconds_ago": round(now - record.found),
                "valid_for_seconds": round(max(0.0, record.expires - now)),
            }
        )
    return {"verdicts": rows, "facts": facts}


async def _forget(verifier: CallbackVerifier, given: Mapping[str, Any]) -> int:
    subject = str(given["subject"])
    local_part, domain = parts(subject) if subject else ("", "")
    try:
        return await verifier.cache.purge(local_part, domain)
    except StoreUnavailable as error:
        raise Unanswerable(f"the store still has them: {error.reason}") from None


def _in_flight(verifier: CallbackVerifier) -> list[dict[str, Any]]:
    return [
        {"address": printable(f"{question.local_part}@{question.domain}"), "client": client}
        for question, client in list(verifier.in_flight.items())[:_MOST_ROWS]
    ]


def _breakers(verifier: CallbackVerifier) -> list[dict[str, Any]]:
    now = time.monotonic()
    return [
        {"address": address, "times": times, "seconds": round(until - now, 1)}
        for address, times, until, _ in verifier.around.breakers.states()
        if times and until > now
    ][:_MOST_ROWS]


def _storms(verifier: CallbackVerifier) -> list[dict[str, Any]]:
    now = time.monotonic()
    return [
        {"domain": printable(domain), "unknown_users": len(seen), "seconds": round(until - now, 1)}
        for domain, until, seen in verifier.around.storms.states()
        if until > now
    ][:_MOST_ROWS]


def _dns(verifier: CallbackVerifier, given: Mapping[str, Any]) -> list[str] | None:
    found = verifier.around.finder.names.known(str(given["type"]).upper(), str(given["name"]).lower())
    return None if found is None else [printable(each) for each in found]


def parts(subject: str) -> tuple[str, str]:
    """Return local part and domain in the cache's form."""
    address = subject if "@" in subject else f"postmaster@{subject}"
    try:
        if (path := mailbox_of(address)) is not None:
            return (path.local_part if "@" in subject else ""), ascii_domain(path.domain)
    except NoCandidate:
        pass
    raise Unanswerable(f'"{printable(subject)}" is neither an address nor a domain')
