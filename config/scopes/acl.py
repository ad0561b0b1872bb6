"""Convert listeners to one form, whether written as nested lists (2.2) or as stanzas (3.x and 4.x).

In 2.2 a listener is a list; each address may carry backlog, concurrency, attributes and rules:

    Esmtp_Listener = ( *:25,200~20 <status="disabled"> [ 10.0.0.0/8 = ( ALWAYS-ALLOW personality [ idle_time = 60 ]
                                                                       relay_hosts ( 10.1.0.0/16 ) continue ) ] )

Every property of a rule becomes its 4.x option, so the later steps (typing in `config.scopes.listeners`, the converter)
handle only options. The rules of 2.2 apply in written order, up to the first
that matches and does not end in `continue`; the `Peer` stanzas of 4.x apply by specificity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from config import naming
from config.diagnostics import Span
from config.findings import Findings
from config.language.errors import unexpected
from config.language.nodes import Attributes, Dictionary, Entry, List, Option, Scalar, Stanza, String, Value, Word
from config.schema.readers import is_off

CONTINUE = "continue"
EXTENSIONS = {
    "xclient": "XCLIENT",
    "xremoteip": "XREMOTEIP",
    "xdumpcontext": "XDUMPCONTEXT",
    "enhancedstatuscodes": "ENHANCEDSTATUSCODES",
    "tls": "STARTTLS",
    "plain": "AUTH PLAIN",
    "login": "AUTH LOGIN",
    "cram-md5": "AUTH CRAM-MD5",
    "digest-md5": "AUTH DIGEST-MD5",
}
"""The SMTP extensions that a 2.2 rule enables, by their names in `SMTP_Extensions` of 4.x."""

_TLS = {
    "certificate": "tls_certificate",
    "key": "tls_key",
    "clientca": "tls_client_ca",
    "ciphers": "tls_ciphers",
    "verify_mode": "tls_verify_mode",
}
"""The options of `TLS [ … ]` and `SSL [ … ]`, by their names in 4.x."""

_NAMED = frozenset({"extension", "extension_argument"})
"""They repeat the extension's name."""

_SWITCHES = {"always-allow": "always_allow", "always-deny": "always_deny"}
_GROUPS = frozenset({"personality", "limits"})
_VALUED = frozenset({"context", "relay_hosts"})
_SENDERS = "relay_for_sending_domains"
_ATTRIBUTE_NAMES = {"status": "enable", "backlog": "listen_backlog", "duravip": "enable_duravip"}
_SUFFIXES = re.compile(r"(?P<address>[^,~]*)(?:,(?P<backlog>[^~]*))?(?:~(?P<concurrency>.*))?")


@dataclass(frozen=True, slots=True)
class PeerNode:
    """Options for the clients of one network."""

    network: Scalar
    options: tuple[Option, ...]
    proceeds: bool
    span: Span


@dataclass(frozen=True, slots=True)
class ListenNode:
    """One address with its options and its clients'."""

    address: Scalar
    options: tuple[Option, ...]
    peers: tuple[PeerNode, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class ListenerNode:
    """A listener: its addresses and their shared options; `in_order` selects the rule order of 2.2."""

    options: tuple[Option, ...]
    listens: tuple[ListenNode, ...]
    peers: tuple[PeerNode, ...]
    in_order: bool


# ---------------------------------------------------------------- 3.x and 4.x


def from_stanza(stanza: Stanza, findings: Findings) -> ListenerNode:
    """Read `ESMTP_Listener { Listen "…" { … } Peer "…" { … } }`."""
    listens, peers = [], []
    for inner in _stanzas(stanza, ("listen", "peer"), findings):
        if inner.head[0].text.lower() == "peer":
            peers.append(_peer(inner, findings))
        else:
            own = tuple(_peer(peer, findings) for peer in _stanzas(inner, ("peer",), findings))
            listens.append(ListenNode(inner.head[1], _options(inner), own, inner.head_span))
    return ListenerNode(_options(stanza), tuple(listens), tuple(peers), in_order=False)


def _stanzas(stanza: Stanza, kinds: tuple[str, ...], findings: Findings) -> Iterator[Stanza]:
    """The nested stanzas that are allowed and have a name."""
    for statement in stanza.body:
        if not isinstance(statement, Stanza):
            continue
        first = statement.head[0]
        if first.text.lower() not in kinds:
            findings.add(naming.unknown("stanza", first.text, kinds, first.span, f" in {stanza.head[0].text}"))
        elif len(statement.head) != 2:  # kind and name
            findings.add(naming.name_is_missing(first.text, statement.head_span))
        else:
            yield statement


def _peer(stanza: Stanza, findings: Findings) -> PeerNode:
    for _ in _stanzas(stanza, (), findings):
        pass
    return PeerNode(stanza.head[1], _options(stanza), proceeds=True, span=stanza.head_span)


def _options(stanza: Stanza) -> tuple[Option, ...]:
    return tuple(statement for statement in stanza.body if isinstance(statement, Option))


# ---------------------------------------------------------------- 2.2


def from_list(value: List, findings: Findings) -> ListenerNode:
    """Read `( address[,backlog][~concurrency] <attributes> [ rules ] … )`."""
    listens: list[ListenNode] = []
    for address, followers in _grouped(value.items, findings):
        options = list(_suffixes(address))
        peers: list[PeerNode] = []
        for follower in followers:
            if isinstance(follower, Attributes):
                options += (_attribute(entry) for entry in follower.entries)
            elif isinstance(follower, Dictionary):
                peers += (_rule(entry, findings) for entry in follower.entries)
            else:
                findings.add(unexpected("(", follower.span))
        listens.append(ListenNode(_bare_address(address), tuple(options), tuple(peers), address.span))
    return ListenerNode((), tuple(listens), (), in_order=True)


def _grouped(items: tuple[Value, ...], findings: Findings) -> Iterator[tuple[Scalar, list[Value]]]:
    """Yield each scalar of a list with the brackets after it."""
    scalar: Scalar | None = None
    followers: list[Value] = []
    for item in items:
        if not isinstance(item, Word | String):
            if scalar is None:
                findings.add(unexpected(item.span.text[0], item.span))
            followers.append(item)
            continue
        if scalar is not None:
            yield scalar, followers
        scalar, followers = item, []
    if scalar is not None:
        yield scalar, followers


def _part(node: Scalar, start: int, end: int) -> Word:
    """Return a part of a scalar as its own word."""
    offset = node.span.start + (1 if isinstance(node, String) else 0)
    return Word(node.text[start:end], Span(node.span.source, offset + start, offset + end))


def _bare_address(node: Scalar) -> Scalar:
    found = _SUFFIXES.fullmatch(node.text)
    if found is None or found.end("address") == len(node.text):
        return node
    return _part(node, *found.span("address"))


def _suffixes(node: Scalar) -> Iterator[Option]:
    """Return the options for `,backlog` and `~concurrency`."""
    match = _SUFFIXES.fullmatch(node.text)
    if match is not None:
        for group, name in (("backlog", "listen_backlog"), ("concurrency", "concurrency")):
            if match[group] is not None:
                value = _part(node, *match.span(group))
                yield Option(Word(name, value.span), value, value.span)


def _attribute(entry: Entry) -> Option:
    name = _ATTRIBUTE_NAMES.get(entry.key.text.lower(), entry.key.text)
    return Option(Word(name, entry.key.span), entry.value, entry.span)


def _rule(entry: Entry, findings: Findings) -> PeerNode:
    """Read `network = ( properties )`."""
    items = entry.value.items if isinstance(entry.value, List) else (entry.value,)
    options: list[Option] = []
    extensions: list[Scalar] = []
    proceeds = False
    for word, followers in _grouped(items, findings):
        if word.text.lower() == CONTINUE:
            proceeds = True
        elif word.text.lower() in EXTENSIONS:
            extensions.append(String(EXTENSIONS[word.text.lower()], '"', word.span))
            options += _parameters(word, followers, findings)
        else:
            options += _property(word, followers, findings)
    if extensions:
        span = extensions[0].span
        options.append(Option(Word("smtp_extensions", span), List(tuple(extensions), span), span))
    return PeerNode(entry.key, tuple(options), proceeds, entry.key.span)


def _parameters(word: Scalar, followers: list[Value], findings: Findings) -> Iterator[Option]:
    """Return the options in the brackets of an extension, or of `SSL`."""
    keyword = EXTENSIONS.get(word.text.lower(), "")
    for follower in followers:
        entries = follower.entries if isinstance(follower, Dictionary) else ()
        own = tuple(entry for entry in entries if entry.key.text.lower() not in _NAMED)
        if keyword.startswith("AUTH "):
            name = f"auth{word.text.replace('-', '')}parameters"
            yield Option(Word(name, word.span), Dictionary(own, follower.span), follower.span)
            continue
        known = {} if keyword not in {"STARTTLS", ""} else _TLS
        for entry in own:
            name = known.get(entry.key.text.lower(), "")
            if name:
                yield Option(Word(name, entry.key.span), entry.value, entry.span)
            else:
                where = f" in {word.text}"
                findings.add(naming.unknown("property", entry.key.text, [*known, *_NAMED], entry.key.span, where))


def _property(word: Scalar, followers: list[Value], findings: Findings) -> Iterator[Option]:
    """Return the options for one property of a rule."""
    name = word.text.lower()
    if name in _SWITCHES:
        yield Option(Word(_SWITCHES[name], word.span), Word("true", word.span), word.span)
    elif name in _GROUPS:
        for follower in followers:
            for entry in follower.entries if isinstance(follower, Dictionary) else ():
                yield Option(Word(entry.key.text, entry.key.span), entry.value, entry.span)
    elif name == "ssl":
        yield Option(Word("use_ssl", word.span), Word("true", word.span), word.span)
        yield from _parameters(word, followers, findings)
    elif name == _SENDERS:
        yield _senders(word, followers)
    elif name in _VALUED:
        value = followers[0] if followers else Word("true", word.span)
        yield Option(Word(name, word.span), value, word.span)
    else:
        known = [CONTINUE, *EXTENSIONS, "ssl", *_SWITCHES, *_GROUPS, *_VALUED, _SENDERS]
        findings.add(naming.unknown("property", word.text, known, word.span, " in this rule"))


def _senders(word: Scalar, followers: list[Value]) -> Option:
    """Read `relay_for_sending_domains`: alone it relays for every sender, `[ x = true ]` for those that are true."""
    if not followers:
        return Option(Word("open_relay", word.span), Word("true", word.span), word.span)
    value = followers[0]
    if isinstance(value, Dictionary):
        domains = tuple(entry.key for entry in value.entries if not is_off(entry.value))
        value = List(domains, value.span)
    return Option(Word(_SENDERS, word.span), value, word.span)
