"""Questions about the sessions of a worker: list them, show one, and end some."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from config.base.ip import read_address, read_network
from proxy.base.log import printable
from proxy.base.tasks import waits_in
from proxy.server.answering import Question, Unanswerable
from proxy.smtp.ports import Front
from proxy.smtp.running import Live
from proxy.smtp.said import moments_of
from proxy.smtp.state import State

MOST_ROWS = 2000
"""Sessions of a worker that are listed."""

_PHASES = {
    State.CONNECTED: "awaiting ehlo/helo",
    State.SECURED: "awaiting ehlo/helo",
    State.READY: "awaiting mailfrom",
    State.SENDER: "awaiting rcptto",
    State.RECIPIENTS: "awaiting rcptto or data",
}
"""In the words of Momentum's reception states."""


def questions(front: Front) -> dict[str, Question]:
    """Return the questions about a front's sessions."""
    return {
        "sessions": lambda given: _listed(front, given),
        "session": lambda given: _one(front, given),
        "kill": lambda given: _killed(front, given),
    }


def _listed(front: Front, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the oldest sessions or, with `latest`, that number of the newest ones."""
    found, latest = _chosen(front, str(given.get("network", ""))), int(given.get("latest", 0))
    chosen = found[-latest:] if latest else found[:MOST_ROWS]
    return {"rows": [row(each) for each in chosen], "left_out": len(found) - len(chosen)}


def _one(front: Front, given: Mapping[str, Any]) -> dict[str, Any] | None:
    for live in front.live:
        if live.dialogue.session.id == given["id"]:
            return _details(live)
    return None


def _killed(front: Front, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """End sessions with 421. One whose message may already be accepted ends after the next hop's reply."""
    wanted = str(given.get("id", ""))
    if wanted:
        found = [each for each in front.live if each.dialogue.session.id == wanted]
    else:
        found = _chosen(front, str(given["network"]))
    killed = []
    for live in found:
        killed.append({**row(live), "waits_for_next_hop": live.dialogue.committed})
        live.kill()
    return killed[:MOST_ROWS]


def _chosen(front: Front, network: str) -> list[Live]:
    """Return the sessions of a network's clients, the oldest first."""
    chosen = list(front.live)
    if network:
        try:
            block = read_network(network)
        except ValueError:
            raise Unanswerable(f'"{printable(network)}" is not a network: write 192.0.2.0/24') from None
        chosen = [each for each in chosen if read_address(each.dialogue.session.client_ip) in block]
    return sorted(chosen, key=lambda each: each.dialogue.session.tally.started)


def row(live: Live) -> dict[str, Any]:
    """Return a session in one row."""
    dialogue = live.dialogue
    session, transaction = dialogue.session, dialogue.session.transaction
    return {
        "id": session.id,
        "client": _end(session.peer_address),
        "helo": printable(session.host_name or "", 64),
        "phase": _phase(live),
        "seconds": round(time.monotonic() - session.tally.started, 3),
        "messages": session.tally.messages,
        "sender": printable(transaction.reverse_path.text),
        "recipients": len(transaction.recipients),
        "upstream": dialogue.relay.upstream if dialogue.relay is not None else "",
    }


def _phase(live: Live) -> str:
    dialogue = live.dialogue
    if dialogue.committed:
        return "sending body response"
    if dialogue.content is not None:
        return "reading body"
    if live.pending is not None:
        return _waiting(waits_in(live.pending.work))
    return _PHASES[dialogue.progress.state]


def _waiting(where: list[str]) -> str:
    """Say what a command waits for, by the functions that it is in."""
    inside = " ".join(where)
    for word, text in (
        ("UpstreamRelay", "waiting for the next hop"),
        ("PhasePipeline", "waiting for policy"),
        ("Connection", "reading from the client"),
        ("Guesses", "checking a password"),
    ):
        if word in inside:
            return text
    return "waiting"


def _details(live: Live) -> dict[str, Any]:
    session = live.dialogue.session
    transaction, said = session.transaction, list(moments_of(bytes(live.dialogue.connection.said)))
    return {
        **row(live),
        "local": _end(session.local),
        "via": session.via,
        "tls": session.tls,
        "cipher": session.cipher,
        "user": printable(session.auth_user),
        "can_relay": session.can_relay,
        "errors": session.tally.errors,
        "waits_in": waits_in(live.pending.work) if live.pending is not None else [],
        "recipient_addresses": [printable(each.path.text) for each in transaction.recipients[:100]],
        "variables": _variables(session.context),
        "message_variables": _variables(transaction.context),
        "dialogue": [line for _, line in said],
        "dialogue_ms": [at for at, _ in said],
    }


def _variables(context: Mapping[str, str]) -> dict[str, str]:
    return {printable(name, 100): printable(value, 200) for name, value in list(context.items())[:200]}


def _end(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
