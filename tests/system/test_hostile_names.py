"""All checks of senders at once on a server, for senders whose name servers do every wrong there is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.proxy.modules.test_hostile_names import NUMBERS, honest
from tests.support.hostile_nameserver import FAULTS, NEVER, HostileNameserver
from tests.support.house import greeted, opened
from tests.support.ringback import Ringback
from tests.support.signing import signed
from tests.support.world import Stage
from tests.system.test_authentication import BOB, modules, sent

pytestmark = pytest.mark.real("dnsmasq")  # the stage has one

MOST_QUESTIONS = 150
"""Of one message: SPF, keys, the policies of two domains and their parents, names and three zones, a few times each."""


async def deliver(ringback: Ringback, fault: str) -> str:
    """Send a message whose client, sender, author and signer have this fault; return the last reply."""
    domain = f"x.{fault}.test"
    content = signed(f"From: a@{domain}\r\nSubject: hi\r\n\r\nhttp://www.{domain}/\r\n".encode(), domain=domain)
    client = await greeted(ringback, source=f"127.0.0.{NUMBERS[fault]}", name=f"mx.{domain}")
    return (await sent(client, content, BOB, sender=f"a@{domain}"))[-1]


async def test_no_name_server_prevents_mail_or_costs_more_than_its_bound(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAULTS, "in-addr", FAULTS["honest"])  # type: ignore[index] # a dictionary
    upstream = await stage.upstream()
    names = await stage._stack.enter_async_context(HostileNameserver(honest))
    names.questions["in-addr"] = 0
    ringback = await opened(stage, tmp_path, *modules(1), upstream_port=upstream.port, nameserver=names.address)
    said = await asyncio.gather(*[deliver(ringback, fault) for fault in NUMBERS])
    assert {fault: reply[:3] for fault, reply in zip(NUMBERS, said, strict=True)} == dict.fromkeys(NUMBERS, "250")
    assert max(names.questions.values()) <= MOST_QUESTIONS
    told = await ringback.logged("message", len(NUMBERS))
    found = {each["sender"].split(".")[1]: each["authentication"] for each in told}
    assert {fault for fault, words in found.items() if "spf=temperror" in words} >= NEVER
    assert [each for each in ringback.log if each["event"] in {"validator_failed", "task_failed", "worker_hangs"}] == []
