"""The processes of the callback benchmark: exchangers, and one that asks afresh.

`python -m bench.asking farm PORT NAMESERVER RCPT EHLO` serves every loopback address: exchangers that take RCPT and
EHLO seconds to answer these commands, and a name server in whose world every name exists. `dN.test` has an
exchanger in a network of its own.
`fresh` does the asking and prints what it took as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import sys
import time
from collections import Counter

import uvloop

from config.schema.values import Network
from proxy.base import log_output
from proxy.callback.service import CallbackService
from proxy.modules.smtp_cbv.making import callbacks_of
from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.options.store import parse_store_url
from tests.support.farm import Farm, Habit
from tests.support.names import Known

EXCHANGER = "127.0.0.11"
LOOPBACK = "127.0.0.0/8"
AT_ONCE = 100
"""Fresh probes at a time."""

HITS = 20_000


def known(name: str) -> Known:
    """Return the way to a domain, or to its exchanger."""
    if not name.startswith("mx."):
        return Known(exchangers=((10, f"mx.{name}"),))
    found = re.match(r"mx\.d(\d+)\.", name)
    if found is None:
        return Known(addresses=(EXCHANGER,))
    number = int(found[1])
    return Known(addresses=(f"127.{1 + number // 250}.{number % 250}.1",))


async def farm(port: str, nameserver: str, rcpt: str, ehlo: str) -> None:
    """Serve for ever."""
    habit = Habit(rcpt_delay=float(rcpt), ehlo_delay=float(ehlo))
    await Farm(known, {}, others=habit).start(int(port), ("127.0.0.1", int(nameserver)))
    await asyncio.Event().wait()


def callbacks_at(port: str, nameserver: str, store: str) -> CallbackService:
    """Return callbacks that ask the farm."""
    options = SmtpCbvOptions(
        port=int(port), allow_networks=(_network(LOOPBACK),), store=parse_store_url(store), max_probes=10_000
    )
    core = CoreOptions.model_construct(
        esmtp_listener=(), nameservers=(f"127.0.0.1:{nameserver}",), hostname="ringback.test"
    )
    return callbacks_of(options, core)


async def fresh(port: str, nameserver: str, store: str, count: str) -> None:
    """Ask `count` exchangers, each for the first time, on one core; then about one address again and again."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    callbacks = callbacks_at(port, nameserver, store)
    verify, numbers = callbacks.verifier.verify, iter(range(int(count)))
    verdicts: Counter[str] = Counter()

    async def work() -> None:
        for number in numbers:
            verdict = await verify(f"u@d{number}.test")
            verdicts[f"{verdict.status.value} {verdict.reason}"] += 1

    await verify("u@d60000.test")
    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    seconds, used = time.perf_counter() - began, time.process_time() - used
    began = time.perf_counter()
    for _ in range(HITS):
        await verify("u@d1.test")
    hit = (time.perf_counter() - began) / HITS
    await callbacks.close()
    print(json.dumps({"seconds": seconds, "processor": used, "hit": hit, "verdicts": verdicts}))


def _network(text: str) -> Network:
    import ipaddress  # noqa: PLC0415 - one use

    return ipaddress.ip_network(text)


def main() -> None:
    """Be one of them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log_output.configure()
    name, *arguments = sys.argv[1:]
    uvloop.run({"farm": farm, "fresh": fresh}[name](*arguments))


if __name__ == "__main__":
    main()
