"""What a stranger's name server may say: what becomes of each fault, on the wire, and what it may cost."""

from __future__ import annotations

import time

import pytest

from proxy.dns import resolver as module
from proxy.dns.resolver import DnsUnavailable, NoSuchDomain, Resolver
from tests.support.hostile_nameserver import CNAME, FAULTS, LONG, NEVER, A, HostileNameserver, text, wire_name

TXT = 16
MOST_QUESTIONS = 10
"""Of one look-up: two tries by c-ares, and three by the stub, over both transports."""

RECORDS = {"honest": 1, "toomany": 1, "long": 1, "thousand": 100, "unfollowed": 0}
"""What gives a clear answer, and how many of its records are read."""


def honest(fault: str, _name: str, kind: int) -> bytes:
    values = {A: bytes([192, 0, 2, 1]), TXT: text(b"x" * (LONG if fault == "long" else 100)), CNAME: b"\0"}
    return values.get(kind, wire_name("mx.honest.test"))


@pytest.mark.parametrize("kind", ["A", "TXT", "PTR"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_is_no_answer_or_bounded(fault: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault in NEVER:
        monkeypatch.setattr(module, "_TRY_SECONDS", 0.1)
        monkeypatch.setattr(module, "QUERY_SECONDS", 0.3)
    async with HostileNameserver(honest) as server:
        resolver = Resolver([server.address])
        used = time.thread_time()
        try:
            found = len(await resolver.records(f"x.{fault}.test", kind))
        except NoSuchDomain:
            assert fault == "denied"
        except DnsUnavailable:
            assert fault not in {*RECORDS, "denied"}
        else:
            assert found == RECORDS[fault]
        finally:
            await resolver.close()
        assert time.thread_time() - used < 1.0  # a bound, not a measurement: 0.005 s here
    assert 0 < server.questions[fault] <= MOST_QUESTIONS
