"""The public test suites of RFC 7208 and RFC 4408, over Ringback's resolver and a real name server."""

from __future__ import annotations

import pytest

from proxy.dns.resolver import Resolver
from proxy.modules.spf_v1.evaluation import evaluate
from proxy.modules.spf_v1.outcome import Identity
from tests.support.spf_suite import SUITES, Case, ZoneServer, cases, need_suites


@pytest.mark.parametrize("suite", SUITES)
async def test_every_case_of_the_suite_has_its_result(suite: str) -> None:
    need_suites()
    failed = []
    async with ZoneServer() as server:
        resolver = Resolver([server.address])
        for case in cases(suite):
            server.zone = case.zone
            failed += await _failure(resolver, case)
        await resolver.close()
    assert failed == []
    assert len(cases(suite)) == SUITES[suite]


async def _failure(resolver: Resolver, case: Case) -> list[str]:
    identity = Identity(case.client_ip, case.sender, case.helo, "receiver.test")
    outcome = await evaluate(resolver, identity)
    said = [f"{case.name}: {outcome} instead of {case.results}"] if outcome.result not in case.results else []
    if case.explanation is not None and case.explanation != (outcome.explanation or "DEFAULT"):
        said.append(f"{case.name}: {outcome.explanation!r} instead of {case.explanation!r}")
    return said
