"""Change the options of listeners that are loaded: their own, their addresses', and their clients'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from config.scopes.listener import Listener, Peer
from config.scopes.places import Setting


class NoSuchScope(Exception):
    """There is nothing at the place that the change names; the text says what is missing."""


def merged(listeners: Sequence[Listener], more: Sequence[Listener]) -> tuple[Listener, ...]:
    """Return the listeners with the options of `more`, which count before their own.

    Raises:
        NoSuchScope: no listener has the address.
    """
    by_address = {str(each): each for each in more}
    _known(listeners, by_address)
    return tuple(_merged(each, by_address[str(each)]) if str(each) in by_address else each for each in listeners)


def without(listeners: Sequence[Listener], more: Sequence[Listener], option: str, kind: str) -> tuple[Listener, ...]:
    """Return the listeners without an option; empty takes away all of the scope's. `more` says where, `kind` at what.

    Raises:
        NoSuchScope: no listener has the address, or nothing sets the option there.
    """
    by_address = {str(each): each for each in more}
    _known(listeners, by_address)
    found = tuple(
        _without(each, by_address[str(each)], option, kind) if str(each) in by_address else each for each in listeners
    )
    if found == tuple(listeners):
        raise NoSuchScope("")
    return found


def _known(listeners: Sequence[Listener], by_address: Mapping[str, Listener]) -> None:
    known = [str(each) for each in listeners]
    for address in by_address:
        if address not in known:
            raise NoSuchScope(f"nothing listens on {address}: the addresses are {', '.join(known)}")


def _merged(old: Listener, new: Listener) -> Listener:
    peers = list(old.peers)
    for peer in new.peers:
        at = next((number for number, each in enumerate(peers) if each.network == peer.network), None)
        if at is not None:
            peers[at] = replace(peers[at], options={**peers[at].options, **peer.options})
        elif old.in_order:  # its place among the rules would decide
            raise NoSuchScope(f"{old} has no rule for {peer.network}: write the rule in the file, and reload")
        else:
            peers.insert(0, peer)
    return replace(old, options={**old.options, **new.options}, shared={**old.shared, **new.shared}, peers=tuple(peers))


def _without(old: Listener, new: Listener, option: str, kind: str) -> Listener:
    if kind == "peer":
        networks = {each.network for each in new.peers}
        return replace(
            old, peers=tuple(_bare(each, option) if each.network in networks else each for each in old.peers)
        )
    if kind == "listen":
        return replace(old, options=_left(old.options, option))
    return replace(old, shared=_left(old.shared, option))


def _bare(peer: Peer, option: str) -> Peer:
    return replace(peer, options=_left(peer.options, option))


def _left(options: Mapping[str, Setting], option: str) -> dict[str, Setting]:
    return {name: each for name, each in options.items() if option and name != option}
