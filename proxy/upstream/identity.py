"""Tells the next hop who the client is, by XCLIENT or XFORWARD. Each is an option of the upstream.

XCLIENT is for a connection, which then belongs to the client's session, as with a PROXY header; without the client's
port, it also serves other sessions of which the next hop would hear the same. XFORWARD is for one message: the MTA
forgets it when the transaction ends, so connections stay shared. Sources: Postfix's XCLIENT_README and XFORWARD_README.
"""

from __future__ import annotations

from proxy.base.log import get_logger, printable
from proxy.mail.session import Session
from proxy.options.outbound import OutboundOptions
from proxy.outgoing.wire import Wire, WireBroken, extensions_of
from proxy.upstream.failures import XFORWARD_IS_MISSING, RefusedUs
from proxy.upstream.upstream import Upstream

log = get_logger()

_UNAVAILABLE = "[UNAVAILABLE]"
_LONGEST_VALUE = 255
"""Characters of an attribute's value, from both READMEs."""
_LONGEST_COMMAND = 512
"""Bytes of a command line (RFC 5321 section 4.5.3.1.4); XFORWARD's attributes may be split over several."""


Identity = tuple[object, ...]
"""The client of a connection, as announced to the next hop. Sessions with equal identities may share connections."""

NOBODY: Identity = ()
"""The identity of a connection on which no client was announced."""


def identity_of(session: Session, upstream: Upstream) -> Identity:
    """Return the identity of a session's client at an upstream that is told who clients are.

    The values are as the session has them: what is told may be cut, and one value may not be told at all.
    """
    policy = upstream.policy
    own = policy.xclient_port or policy.upstream_proxy_protocol != "no"
    return (
        session.id if own else "",
        session.peer_address if own else session.peer_address[0],
        session.client_name,
        session.host_name,
        session.extended_smtp,
        session.auth_user,
        session.local,
    )


# ---------------------------------------------------------------- XCLIENT


async def introduce_client(wire: Wire, upstream: Upstream, session: Session) -> bool:
    """Tell the upstream who the client is (Postfix XCLIENT), and send EHLO again as the protocol requires.

    Return whether this was done: not if the option is off, or if the upstream does not offer XCLIENT.

    Raises:
        RefusedUs: it refuses XCLIENT, or does not offer it although it is required.
        WireBroken, TimeoutError: the connection broke.
    """
    policy = upstream.policy
    if policy.xclient == "no":
        return False
    offered = wire.extensions.get("xclient")
    if offered is None:
        if policy.xclient == "required":
            raise RefusedUs("XCLIENT is required but not offered")
        return False
    names = set(offered.upper().split())
    if not policy.xclient_port:
        names.discard("PORT")
    # EHLO waits for the reply: Postfix takes what is pipelined after XCLIENT for a violation, and what is after EHLO.
    # The client's own name: Postfix takes the name in the EHLO after XCLIENT for the client's.
    name = (session.host_name or upstream.helo).encode("ascii", "replace")
    answer = await wire.ask(_xclient(session, names), policy.ehlo_timeout)
    if answer.code != 220:
        raise RefusedUs(f"XCLIENT: {answer.code} {answer.text}")
    hello = await wire.ask(b"%b %b\r\n" % (b"LHLO" if upstream.lmtp else b"EHLO", name), policy.ehlo_timeout)
    if not hello.accepted:
        raise RefusedUs(f"EHLO after XCLIENT: {hello.code} {hello.text}")
    wire.extensions = extensions_of(hello)
    return True


def _xclient(session: Session, names: set[str]) -> bytes:
    """Return the command with the attributes that the upstream accepts; unknown values are [UNAVAILABLE]."""
    known = _attributes(session) | {
        "DESTADDR": _tagged(session.local[0]),
        "DESTPORT": str(session.local[1]),
    }
    if session.auth_user:
        known["LOGIN"] = _xtext(session.auth_user)
    words = [f"{name}={value}" for name, value in known.items() if name in names]
    return f"XCLIENT {' '.join(words)}\r\n".encode()


# ---------------------------------------------------------------- XFORWARD


async def forward_client(wire: Wire, policy: OutboundOptions, session: Session) -> None:
    """Tell the upstream whose message comes next (Postfix XFORWARD), before every MAIL.

    Raises:
        WireBroken, TimeoutError: the connection broke, or the upstream refuses XFORWARD although it is required.
    """
    if policy.xforward == "no":
        return
    commands = _xforward(session, set(wire.extensions.get("xforward", "").upper().split()))
    if not commands and policy.xforward == "required":
        raise WireBroken(XFORWARD_IS_MISSING)
    for command in commands:
        answer = await wire.ask(command, policy.ehlo_timeout)
        if answer.accepted:
            continue
        told = printable(f"XFORWARD: {answer.code} {answer.text}")
        if answer.code == 421 or policy.xforward == "required":  # 421: it closes (RFC 5321 section 3.8)
            raise WireBroken(told)
        # The next hop's log lacks the client; that is no reason to withhold the message.
        log.warning("xforward_refused", session=session.id, reason=told)
        return


def _xforward(session: Session, names: set[str]) -> list[bytes]:
    """Return commands with the attributes that the upstream accepts; empty if it accepts no attribute."""
    known = _attributes(session) | {"IDENT": _xtext(session.transaction_id), "SOURCE": "REMOTE"}
    lines: list[str] = []
    for word in (f" {name}={value}" for name, value in known.items() if name in names):
        if not lines or len(lines[-1]) + len(word) + 2 > _LONGEST_COMMAND:  # CRLF
            lines.append("XFORWARD")
        lines[-1] += word
    return [f"{line}\r\n".encode() for line in lines]


# ---------------------------------------------------------------- used by both


def _attributes(session: Session) -> dict[str, str]:
    address, port = session.peer_address
    name = session.client_name  # only if policy looked it up: relaying does not wait for DNS
    return {
        "NAME": _xtext(name) if name and name != "unknown" else _UNAVAILABLE,
        "ADDR": _tagged(address),
        "PORT": str(port),
        "PROTO": "ESMTP" if session.extended_smtp else "SMTP",
        "HELO": _xtext(session.host_name) if session.host_name else _UNAVAILABLE,
    }


def _tagged(address: str) -> str:
    return f"IPV6:{address}" if ":" in address else address


def _xtext(text: str) -> str:
    """Encode as xtext (RFC 3461 section 4); a result that is too long is cut between characters."""
    encoded = ""
    for octet in text.encode("utf-8", "surrogateescape"):
        char = chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}"
        if len(encoded) + len(char) > _LONGEST_VALUE:
            break
        encoded += char
    return encoded
