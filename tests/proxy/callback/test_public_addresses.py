"""Which exchangers' addresses are public. The table of decisions has the others, which are never asked."""

from __future__ import annotations

import pytest

from proxy.callback.resolve import ExchangerFinder, ExchangerHost
from tests.support.worker import Names, resolver


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "192.0.1.1",
        "223.255.254.1",
        "2001:4860::1",
        "2606:4700::1111",
        "2a00:1450::1b",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ],
)
async def test_a_public_address_may_be_probed(address: str) -> None:
    names = Names(mx={"sender.test": [(10, "mx.test")]}, hosts={"mx.test": [address]})
    assert await ExchangerFinder(resolver(names), {}, ()).find("sender.test") == [ExchangerHost("mx.test", (address,))]
