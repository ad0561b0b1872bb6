"""arc: what it tells scripts and DMARC about a chain."""

from __future__ import annotations

import asyncio

import pytest

from config.schema.values import DomainPatterns
from proxy.mail.session import Session
from proxy.modules.arc.module import ArcValidator
from proxy.modules.arc.options import ArcOptions
from sieve.phases import Phase
from tests.proxy.arc.test_verifying import KEYS, PLAIN, chain
from tests.support.lookups import asked, has_message, stranger
from tests.support.signing import KeyRecords


async def judged(content: bytes, *trusted: str, records: object = None, **options: object) -> Session:
    given = ArcOptions.model_validate({"trusted_sealers": DomainPatterns(trusted), **options})
    validator = ArcValidator("arc", given, records or KeyRecords(KEYS))  # type: ignore[arg-type]
    session = has_message(stranger("bob@example.com"), content)
    message = session.transaction.message
    assert message is not None
    listener = await validator.listen(session, message)
    if listener is not None:
        await listener.feed(b"\r\n" + content.partition(b"\r\n\r\n")[2].replace(b"\r\n.", b"\r\n.."))
    assert (await asked(validator, session, Phase.DATA)).reply is None
    return session


def told(session: Session) -> tuple[str | None, ...]:
    context = session.transaction.context
    message = session.transaction.message
    assert message is not None
    message.close()
    return tuple(context.get(name) for name in ("arc_status", "arc_sealer", "arc_trusted"))


async def test_without_a_chain_the_status_is_none_and_nothing_is_written() -> None:
    session = await judged(PLAIN)
    assert "arc" not in session.transaction.evidence
    assert told(session) == ("none", None, None)


@pytest.mark.parametrize(
    ("trusted", "verdict"),
    [((), "no"), (("l2.test",), "yes"), (("*.test",), "yes"), (("l1.test",), "no"), (("other.test",), "no")],
)
async def test_only_the_newest_sealer_can_be_trusted(trusted: tuple[str, ...], verdict: str) -> None:
    session = await judged(chain(2), *trusted)
    message = session.transaction.message
    assert message is not None
    (field, *_) = message.header("Authentication-Results")
    assert "arc=pass" in field
    assert told(session) == ("pass", "l2.test", verdict)


async def test_a_broken_chain_is_never_trusted() -> None:
    assert told(await judged(chain(1).replace(b"hello", b"hullo"), "l1.test")) == ("fail", "l1.test", "no")


async def test_a_silent_name_server_is_a_temporary_error() -> None:
    class Silent:
        async def records(self, name: str, record_type: str) -> list[bytes]:
            del name, record_type
            await asyncio.Event().wait()
            return []

    assert told(await judged(chain(1), "l1.test", records=Silent(), timeout=0.1)) == ("temperror", "", "no")
