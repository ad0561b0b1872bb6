"""Zones on the wire: working ones, ones that list everything or nothing, and ones that change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import dns.message
import dns.rcode
import dns.rrset
import pytest

from proxy.base.tasks import TaskOwner
from proxy.dns.remembered import Remembered
from proxy.dns.resolver import Resolver
from proxy.modules.dnsbl.lists import Lists
from proxy.modules.dnsbl.score import scored
from proxy.modules.dnsbl.zones import Zone, ZoneOptions
from tests.support.nameserver import ScriptedNameserver

Says = Callable[[str], str]
SIX = ".".join(reversed("20010db8000000000000000000000001"))


class ZoneServer(ScriptedNameserver):
    """Answers with what a function says of a name: an address, or nothing. Answers have no life."""

    def __init__(self, says: Says) -> None:
        super().__init__([])
        self.says = says

    def answer(self, octets: bytes, *, tcp: bool) -> bytes | None:
        del tcp
        query = dns.message.from_wire(octets)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        self.asked.append(name)
        response = dns.message.make_response(query, recursion_available=True)
        if address := self.says(name):
            response.answer = [dns.rrset.from_text(f"{name}.", 0, "IN", "A", address)]
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


def works(name: str) -> str:
    return "127.0.0.2" if name.startswith(("2.0.0.127.", "1.2.0.192.", f"{SIX}.")) else ""


SAYS: dict[str, tuple[Says, str]] = {
    "works": (works, ""),
    "lists everyone": (lambda _: "127.0.0.2", "127.0.0.1 is listed"),
    "lists nobody": (lambda _: "", "127.0.0.2 is not listed"),
    "is redirected": (lambda _: "198.51.100.7", "127.0.0.2 is not listed"),
    "refuses": (lambda _: "127.255.255.254", "it refuses to answer: 127.255.255.254 127.255.255.254"),
    "refuses one": (lambda name: works(name).replace("0.0.2", "255.255.252"), "it refuses to answer: 127.255.255.252"),
}


@pytest.fixture
async def server() -> AsyncIterator[ZoneServer]:
    async with ZoneServer(works) as made:
        yield made


class Asking:
    """The zones of one stanza, and a resolver that remembers nothing of an earlier one."""

    def __init__(self, server: ZoneServer, **zones: dict[str, object]) -> None:
        self.resolver, self.owner = Resolver([server.address]), TaskOwner("test")
        made = [Zone(f"{name}.test", ZoneOptions.model_validate(options)) for name, options in zones.items()]
        self.lists = Lists(made, Remembered(self.resolver), 60.0, self.owner)

    async def listed(self, client: str) -> list[str]:
        return [hit.zone.name for hit in scored(await self.lists.look("client", [client], 100)).hits]

    async def close(self) -> None:
        await self.owner.cancel()
        await self.resolver.close()


@pytest.mark.parametrize("state", SAYS)
async def test_a_zone_lists_only_if_its_test_entries_are_right(state: str, server: ZoneServer) -> None:
    server.says, problem = SAYS[state]
    asking = Asking(server, bl={})
    for client in ("192.0.2.1", "2001:db8::1"):
        assert (await asking.listed(client) == ["bl.test"]) == (state == "works")
    assert asking.lists.health.off.get("bl.test", "") == problem
    await asking.close()


async def test_a_zone_that_changes_is_switched_off_and_on_again(server: ZoneServer) -> None:
    for state, (says, _) in [*SAYS.items(), ("works", SAYS["works"])]:
        server.says = works
        asking = Asking(server, bl={})
        assert await asking.listed("192.0.2.1") == ["bl.test"]
        server.says = says
        await asking.lists.health.look(asking.lists.zones[0])
        assert bool(await asking.listed("192.0.2.1")) == (state == "works")
        server.says = works
        await asking.lists.health.look(asking.lists.zones[0])
        assert await asking.listed("192.0.2.1") == ["bl.test"]
        await asking.close()


async def test_clients_are_asked_backwards_by_octets_and_by_nibbles(server: ZoneServer) -> None:
    asking = Asking(server, bl={"test": False})
    assert await asking.listed("192.0.2.1") == await asking.listed("2001:DB8:0::1") == ["bl.test"]
    assert await asking.listed("::ffff:192.0.2.1") == ["bl.test"]
    assert {*server.asked} == {"1.2.0.192.bl.test", f"{SIX}.bl.test"}
    await asking.close()


async def test_an_allow_list_that_lists_everyone_allows_nobody(server: ZoneServer) -> None:
    server.says = lambda name: "127.0.0.2" if name.endswith(".allow.test") else works(name)
    asking = Asking(server, bl={}, allow={"allow": True})
    assert await asking.listed("192.0.2.1") == ["bl.test"]
    await asking.close()
    server.says = works
    asking = Asking(server, bl={}, allow={"allow": True})
    assert await asking.listed("192.0.2.1") == []
    await asking.close()
