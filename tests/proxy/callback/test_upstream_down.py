"""No callback verification while all next hops are down: the client gets 451 in any case."""

from __future__ import annotations

from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, serving


async def test_an_upstream_that_was_not_reached_is_known_to_be_down_until_it_is_back() -> None:
    async with Exchanger() as upstream, serving(upstream, host_failure_retry=60) as stage:
        pools = stage.worker.pools
        assert not pools.all_down()
        await upstream.stop()
        await upstream.until(lambda: not upstream.open_dialogues, "the upstream is gone")
        client = await stage.greeted()
        asked = await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        assert asked[1] == "451 4.4.1 Next-hop server is unreachable, try again later"
        assert pools.all_down()
        back = Exchanger(port=upstream.port)
        async with back:
            assert await client.ask(f"RCPT TO:<{BOB}>") == "250 2.1.5 Ok"
            assert not pools.all_down()
