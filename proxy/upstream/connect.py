"""From an upstream to a connection: its addresses in turn, TLS as its options say, and who the client is by XCLIENT.

An address that failed is tried last for `host_failure_retry` seconds. Where all of them failed lately, one transaction
at a time tries, and the others hear at once that nothing is there: a dead upstream costs nobody a timeout but one.
"""

from __future__ import annotations

import asyncio
import ssl

from proxy.dns import DnsUnavailable, NoSuchDomain, Resolver
from proxy.log import get_logger, printable
from proxy.session import Session
from proxy.upstream.routes import Upstream, context_of
from proxy.wire import IN_THE_CLEAR, Dial, Refused, Tls, TlsFailed, Wire, WireBroken, dial, extensions_of

log = get_logger()

FAILOVER_SECONDS = 100.0
"""For all addresses of an upstream together: the client must hear its answer to RCPT within two minutes."""

Place = tuple[str, int, str]
"""An address, a port, and the host they belong to."""


class Unreachable(Exception):
    """No address of the upstream takes a connection."""


class RefusedUs(Exception):
    """The upstream refuses to talk to us: its greeting, EHLO, TLS or XCLIENT."""


class Connector:
    """Connects to one upstream. Its state is which addresses failed, until when they rest, and whether one is tried."""

    def __init__(self, upstream: Upstream, resolver: Resolver) -> None:
        """Name the upstream; nothing is connected yet."""
        self._upstream, self._resolver = upstream, resolver
        self._resting: dict[tuple[str, int], float] = {}
        self._trying = False
        self._loop = asyncio.get_running_loop()

    async def connect(self) -> Wire:
        """Return a new connection.

        Raises:
            Unreachable: no address takes one, or the name cannot be resolved.
            RefusedUs: the upstream refuses to talk to us.
        """
        tried: list[Place] = []
        try:
            async with asyncio.timeout(FAILOVER_SECONDS):
                places = await self._upstream.addresses(self._resolver)
                return await self._first_of(places, tried)
        except (DnsUnavailable, NoSuchDomain) as error:
            raise self._logged(Unreachable(f"cannot be resolved: {error}")) from None
        except TimeoutError:
            for place in tried[-1:]:
                self._rest(place)
            raise self._logged(Unreachable("timeout")) from None

    async def _first_of(self, places: list[Place], tried: list[Place]) -> Wire:
        now = self._loop.time()
        awake = [place for place in places if self._resting.get(place[:2], 0.0) <= now]
        if awake:
            resting = [place for place in places if place not in awake]
            return await self._try(awake + resting, tried)
        if self._trying:
            raise Unreachable("every address failed lately")
        self._trying = True
        try:
            return await self._try(places, tried)
        finally:
            self._trying = False

    async def _try(self, places: list[Place], tried: list[Place]) -> Wire:
        problem: Exception = Unreachable("it has no address")
        for place in places:
            tried.append(place)
            try:
                wire = await self._dial(place)
            except (WireBroken, TimeoutError) as error:
                problem = Unreachable(f"{place[0]}: {str(error) or 'timeout'}")
            except Refused as error:
                problem = RefusedUs(f"{place[0]}: {error}")
            else:
                self._resting.pop(place[:2], None)
                return wire
            self._rest(place)
        raise self._logged(problem)

    def _rest(self, place: Place) -> None:
        self._resting[place[:2]] = self._loop.time() + self._upstream.policy.host_failure_retry

    def _logged(self, problem: Exception) -> Exception:
        log.error("upstream_unreachable", upstream=self._upstream.name, reason=printable(str(problem)))
        return problem

    async def _dial(self, place: Place) -> Wire:
        """Connect to one address; where the handshake fails and that is allowed, once more in the clear."""
        address, port, host = place
        upstream, policy = self._upstream, self._upstream.policy
        tls = IN_THE_CLEAR
        if policy.tls != "no":
            try:
                tls = Tls(policy.tls, context_of(policy), host)
            except (OSError, ssl.SSLError) as error:
                raise Refused("tls", 0, f"our TLS files cannot be used: {error}") from error
        target = Dial(address, port, upstream.helo, policy.connect_timeout, policy.ehlo_timeout, tls, upstream.lmtp)
        try:
            return await dial(target)
        except TlsFailed as failed:
            if policy.tls == "required" or not policy.tls_ifavailable_fallback:
                raise Refused("tls", 0, str(failed)) from failed
            log.warning("upstream_tls_failed", upstream=upstream.name, address=address, reason=printable(str(failed)))
        return await dial(
            Dial(address, port, upstream.helo, policy.connect_timeout, policy.ehlo_timeout, lmtp=upstream.lmtp)
        )


async def introduce_client(wire: Wire, upstream: Upstream, session: Session) -> None:
    """Tell the upstream who the client is (Postfix XCLIENT), and say EHLO again as the protocol wants.

    Raises:
        RefusedUs: it does not take XCLIENT where that is required, or refuses it.
        WireBroken, TimeoutError: the connection broke.
    """
    policy = upstream.policy
    offered = wire.extensions.get("xclient")
    if offered is None:
        if policy.xclient == "required":
            raise RefusedUs("XCLIENT is required and not offered")
        return
    answer = await wire.ask(_xclient(session, set(offered.upper().split())), policy.ehlo_timeout)
    if answer.code != 220:
        raise RefusedUs(f"XCLIENT: {answer.code} {answer.text}")
    # The client's own name: Postfix takes the name of the EHLO behind XCLIENT for the client's.
    name = (session.host_name or upstream.helo).encode("ascii", "replace")
    hello = await wire.ask(b"%b %b\r\n" % (b"LHLO" if upstream.lmtp else b"EHLO", name), policy.ehlo_timeout)
    if not hello.accepted:
        raise RefusedUs(f"EHLO after XCLIENT: {hello.code} {hello.text}")
    wire.extensions = extensions_of(hello)


def _xclient(session: Session, names: set[str]) -> bytes:
    """Return the command with the attributes that the upstream names; what we do not know is [UNAVAILABLE]."""
    address, port = session.peer_address
    known = {
        "NAME": "[UNAVAILABLE]",
        "ADDR": f"IPV6:{address}" if ":" in address else address,
        "PORT": str(port),
        "PROTO": "ESMTP" if session.extended_smtp else "SMTP",
        "HELO": _xtext(session.host_name or "[UNAVAILABLE]"),
        "DESTADDR": f"IPV6:{session.local[0]}" if ":" in session.local[0] else session.local[0],
        "DESTPORT": str(session.local[1]),
    }
    if session.auth_user:
        known["LOGIN"] = _xtext(session.auth_user.encode().decode("latin-1"))
    words = [f"{name}={value}" for name, value in known.items() if name in names]
    return f"XCLIENT {' '.join(words)}\r\n".encode()


def _xtext(text: str) -> str:
    """Encode as xtext (RFC 3461 section 4)."""
    return "".join(char if "!" <= char <= "~" and char not in "+=" else f"+{ord(char):02X}" for char in text)
