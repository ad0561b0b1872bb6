"""Typed listeners: where to listen, and which option is in force for which client.

Each inbound option falls back from the client's network (`Peer`, or a 2.2 rule) to the address (`Listen`), the
listener, the pathway that one of them names, its group, and the global scope. If several networks contain the client,
the most specific one that sets the option decides. 2.2 rules apply in order, later over earlier, up to the first that
does not end in `continue`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

from config import errors, naming
from config.base import hosts
from config.language.nodes import Attributes, Dictionary, List, Option, Scalar, Stanza, String, Value, Word
from config.schema.binding import Gathered
from config.schema.options import Options, Zero
from config.schema.readers import ReadContext, Unreadable, ValueReader, declare, described, reader_for
from config.schema.values import Network, ValueKind
from config.scopes.acl import ListenerNode, ListenNode, PeerNode, from_list, from_stanza
from config.scopes.extensions import EVERYONE, Translation
from config.scopes.gathering import read_setting
from config.scopes.listener import DEFAULT_BACKLOG, DEFAULT_PORT, EVERY, PATHWAY, Listener, Listeners, Peer, shown
from config.scopes.places import Place, ScopeStep, Setting

_HIGHEST_PORT = 65535
_MOST = (1 << 31) - 1
_ADDRESS = re.compile(r"(?:\[(?P<six>\*|[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\],~/]*))(?::(?P<port>\d{1,5}))?")

SOCKET_ZEROS: Mapping[str, Zero] = {"listen_backlog": "automatic", "concurrency": "no limit"}
"""What 0 means for the numeric ones; a backlog of 0 is the default."""

_OWN = {
    "listen_backlog": reader_for(int),
    "concurrency": reader_for(int),
    "enable": reader_for(bool),
    "enable_duravip": reader_for(bool),
}
PROTO = "proto"
"""The option that says which addresses `*` is."""

_FAMILIES: Mapping[str, str] = {"both": EVERY, "ipv4": "0.0.0.0", "ipv6": "::"}  # noqa: S104 - the operator's choice
"""What `*` means with each value of `proto`."""

_LISTENER = frozenset({"listener", "esmtp_listener"})
_LISTEN = frozenset({"listen", "listener", "esmtp_listener"})
_PEER = frozenset({"peer"})
_OUTER = ScopeStep("esmtp_listener", "")


# ---------------------------------------------------------------- reading


def _read_list(value: Value, reading: ReadContext) -> tuple[Listener, ...]:
    if isinstance(value, Dictionary | Attributes):
        raise Unreadable(errors.wrong_kind(reading.name, "a list of addresses", described(value), value.span))
    node = value if isinstance(value, List) else List((value,), value.span)
    return _Typing(reading).listeners(from_list(node, reading.findings))


def _read_stanza(stanza: Stanza, reading: ReadContext) -> tuple[Listener, ...]:
    return _Typing(reading).listeners(from_stanza(stanza, reading.findings))


class _Typing:
    """Turns listeners as written into typed ones."""

    def __init__(self, reading: ReadContext) -> None:
        self._reading = reading
        model = reading.model
        self._model = model if model is not None and issubclass(model, Options) else Options
        self._translation = Translation(self._model, reading.findings)

    def listeners(self, node: ListenerNode) -> tuple[Listener, ...]:
        """Type every address; report and omit wrong ones."""
        written = (*node.options, *_all_options(node))
        self._translation = Translation.of(self._model, self._reading.findings, written, in_order=node.in_order)
        own, rest = self._own(node.options)
        shared = self._settings(rest, (_OUTER,), "listener", _LISTENER)
        peers = self._peers(node.peers, (_OUTER,))
        by_address: dict[str, Listener] = {}
        for listen in node.listens:
            try:
                listener = self._listen(listen, own, shared, peers, in_order=node.in_order)
            except Unreadable as wrong:
                wrong.report(self._reading.findings)
                continue
            before = by_address.setdefault(str(listener), listener)
            if before is not listener and before.span is not None:
                self._reading.findings.add(naming.address_twice(str(listener), listen.span, before.span))
        return tuple(_apart(listener, by_address.values()) for listener in by_address.values())

    def _listen(
        self,
        node: ListenNode,
        inherited: Mapping[str, int],
        shared: Mapping[str, Setting],
        peers: tuple[Peer, ...],
        *,
        in_order: bool,
    ) -> Listener:
        address, port = _address(node.address)
        if address == EVERY:
            address = self._family(node.options)
        place = (_OUTER, ScopeStep("listen", shown(address, port)))
        own, rest = self._own(node.options)
        own = {**inherited, **own}
        return Listener(
            address=address,
            port=port,
            backlog=own.get("listen_backlog") or DEFAULT_BACKLOG,
            concurrency=own.get("concurrency", 0),
            enabled=bool(own.get("enable", True)),
            floats=bool(own.get("enable_duravip", False)),
            options=self._settings(rest, place, "listen", _LISTEN),
            shared=shared,
            peers=(*self._peers(node.peers, place), *peers),
            in_order=in_order and bool(node.peers),
            span=node.span,
        )

    def _own(self, options: tuple[Option, ...]) -> tuple[dict[str, int], list[Option]]:
        """Separate the socket's options from its sessions' options."""
        own: dict[str, int] = {}
        rest = []
        for statement in options:
            reader = _OWN.get(statement.name.text.lower())
            if reader is None:
                if statement.name.text.lower() != PROTO:
                    rest.append(statement)
                continue
            try:
                value = reader.read(statement.value, ReadContext(statement.name.text, self._reading.findings))
                own[statement.name.text.lower()] = _counted(value, statement)
            except Unreadable as wrong:
                wrong.report(self._reading.findings)
        return own, rest

    def _family(self, options: tuple[Option, ...]) -> str:
        """Return the address that `*` is, by the option `proto`."""
        wanted = EVERY
        for statement in options:
            if statement.name.text.lower() == PROTO:
                text = statement.value.text.lower() if isinstance(statement.value, Word | String) else ""
                if text not in _FAMILIES:
                    raise Unreadable(errors.not_one_of(PROTO, text, list(_FAMILIES), statement.value.span))
                wanted = _FAMILIES[text]
        return wanted

    def _peers(self, nodes: tuple[PeerNode, ...], place: Place) -> tuple[Peer, ...]:
        peers = []
        read = _network_reader()
        for node in nodes:
            try:
                network = read(node.network, ReadContext("Peer", self._reading.findings))
            except Unreadable as wrong:
                wrong.report(self._reading.findings)
                continue
            inner = (*place, ScopeStep("peer", str(network)))
            if isinstance(network, IPv4Network | IPv6Network):
                options = self._settings(list(node.options), inner, "peer", _PEER, (str(network),))
                peers.append(Peer(network, options, node.proceeds, node.span))
        return tuple(peers)

    def _settings(
        self,
        options: list[Option],
        place: Place,
        where: str,
        kinds: frozenset[str],
        networks: tuple[str, ...] = EVERYONE,
    ) -> dict[str, Setting]:
        findings = self._reading.findings
        gathered = Gathered(self._model, f" in {where}", kinds)
        pathway = None
        for statement in self._translation.translated(options, networks):
            if statement.name.text.lower() == PATHWAY and isinstance(statement.value, Word | String):
                pathway = Setting(statement.value.text, statement.value.span, place)
            else:
                gathered.add(statement, findings)
        settings = {}
        if pathway is not None:
            settings[PATHWAY] = pathway
        for name, statement in gathered.written.items():
            setting = read_setting(self._model, name, statement, place, findings)
            if setting is not None:
                settings[name] = setting
        return settings


def _apart(listener: Listener, others: Iterable[Listener]) -> Listener:
    """Return a listener on `*` as one for IPv4 only, if another one has every IPv6 address of its port: `[*]:25`."""
    six = any(other.address == _FAMILIES["ipv6"] and other.port == listener.port for other in others)
    return replace(listener, address=_FAMILIES["ipv4"]) if six and listener.address == EVERY else listener


def _all_options(node: ListenerNode) -> Iterator[Option]:
    """Return the options of every address and network of a listener."""
    for listen in node.listens:
        yield from listen.options
        for peer in (*listen.peers, *node.peers):
            yield from peer.options


def _counted(value: object, statement: Option) -> int:
    """Return a number that the system accepts for a socket."""
    number = value if isinstance(value, int) else 0
    if 0 <= number <= _MOST:
        return number
    bound = "at least 0" if number < 0 else f"at most {_MOST}"
    raise Unreadable(errors.out_of_bounds(statement.name.text, bound, str(number), statement.value.span))


def _network_reader() -> Callable[[Value, ReadContext], object]:
    return reader_for(Network).read


def _address(node: Scalar) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(node.text)
    port = int(match["port"] or DEFAULT_PORT) if match is not None else 0
    if not node.text or match is None or port > _HIGHEST_PORT:
        hint = "write address:port, *:25 or [::1]:25"
        raise Unreadable(errors.not_a("an address to listen on", node.text, node.span, hint))
    address = _FAMILIES["ipv6"] if match["six"] == EVERY else match["six"] or match["host"] or EVERY
    wrong = None if address == EVERY else hosts.what_to_write(address)
    if wrong is not None:
        raise Unreadable(errors.not_a("an address to listen on", node.text, node.span, wrong))
    return address, port


declare(ValueKind.LISTENERS, ValueReader(_read_list, "a list of addresses to listen on", _read_stanza))

__all__ = ["Listeners"]
