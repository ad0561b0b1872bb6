"""A world of plain values: what a script asks is answered from attributes, what it does is kept as lines."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from proxy.counting.base import Counting
from proxy.counting.memory import MemoryCounting
from proxy.lists.listed import Lists
from proxy.mail.session import Session, Transaction
from proxy.modules.sieve_policy.counters import ScriptCounters, SessionCounters
from proxy.modules.sieve_policy.lists import SessionLists
from proxy.options.core import CoreOptions
from sieve.host import CallbackAnswer, ConnectionEnd, DnsAnswer
from sieve.run.values import ScriptError
from sieve.settings import BounceRules
from sieve.shared import Found


@dataclass
class PlainMessage:
    """A message as text with line feeds; edits change it."""

    text: str
    wire: bytes | None = None

    def fields(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for line in self.text.partition("\n\n")[0].split("\n"):
            key, colon, body = line.partition(":")
            if line[:1] in {" ", "\t"} and found:
                found[-1] = (found[-1][0], found[-1][1] + line)
            elif colon:
                found.append((key.strip(), body.strip()))
        return found

    def header(self, name: str) -> Sequence[str]:
        return [body for key, body in self.fields() if key.lower() == name.lower()]

    def write(self, fields: list[tuple[str, str]]) -> None:
        body = self.text.partition("\n\n")[2]
        self.text = "".join(f"{key}: {value}\n" for key, value in fields) + "\n" + body

    @property
    def size(self) -> int:
        return len(self._raw())

    @property
    def has_body(self) -> bool:
        return b"\r\n\r\n" in self._raw() or self._raw().startswith(b"\r\n")

    @property
    def stuffed_lines(self) -> int:
        return sum(line.startswith(".") for line in self.text.split("\n"))

    async def raw(self) -> bytes:
        return self._raw()

    def _raw(self) -> bytes:
        if self.wire is None:
            return self.text.replace("\n", "\r\n").encode("utf-8", "surrogateescape")
        return self.wire


@dataclass
class PlainConnection:
    """A connection from an address of the documentation networks."""

    client: ConnectionEnd = field(default_factory=lambda: ConnectionEnd("192.0.2.3", 40025))
    local: ConnectionEnd = field(default_factory=lambda: ConnectionEnd("198.51.100.1", 25))
    ehlo: str = "client.example.org"
    hostname: str = "mx.example.com"

    async def client_name(self) -> str:
        return "mx.example.org"


@dataclass
class PlainTransaction:
    """A transaction that began at a whole second."""

    id: str = "8A1F"
    created: float = 1_750_000_000.9


@dataclass(eq=False)
class PlainSession:
    """What counting looks at."""

    local: tuple[str, int] = ("198.51.100.1", 25)
    client_ip: str = "192.0.2.1"
    transaction: Transaction = field(default_factory=Transaction)


def plain_counters(
    counting: Counting | None = None, clock: Callable[[], float] = lambda: 0.0, **options: Any
) -> ScriptCounters:
    """Return counters, of a process alone and at 0 o'clock unless others are given."""
    settings = SimpleNamespace(
        siv_throttle_cache_size=1000, replicated_caches=frozenset(), processes=1, shares_counts=False
    )
    settings.__dict__.update(options)
    monitors = ((300, 6), (1800, 4))
    return ScriptCounters(counting or MemoryCounting(clock), cast(CoreOptions, settings), monitors, clock)


@dataclass
class PlainHost:
    """A session without a server; it is also what changes message and envelope."""

    sender: str = "a@sender.example"
    recipients: Sequence[str] = ("r@example.com",)
    message: PlainMessage | None = None
    vctx_conn: dict[str, str] = field(default_factory=dict)
    vctx_mess: dict[str, str] = field(default_factory=dict)
    verdict: str = "pass"
    zone: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    connection: PlainConnection = field(default_factory=PlainConnection)
    transaction: PlainTransaction = field(default_factory=PlainTransaction)
    done: list[str] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    rules: BounceRules = field(default_factory=BounceRules)
    space: tuple[int, int, int] = (1000, 250, 75)
    links: dict[str, list[str]] = field(default_factory=dict)
    all_lists: Lists = field(default_factory=lambda: Lists(Path("/nonexistent")))
    counting: ScriptCounters = field(default_factory=plain_counters)
    counted: PlainSession = field(default_factory=PlainSession)

    @property
    def content(self) -> PlainMessage | None:
        return self.message

    @property
    def edits(self) -> PlainHost:
        return self

    @property
    def envelope(self) -> PlainHost:
        return self

    @property
    def lists(self) -> SessionLists:
        return SessionLists(self.all_lists, lambda entry: self.done.append(f"entry: {entry.list} {entry.network}"))

    @property
    def control(self) -> PlainHost:
        return self

    @property
    def datasources(self) -> PlainHost:
        return self

    def fetch(self, name: str, query: str, parameters: Any) -> Found:
        """Answer from `tables`: `columns|row|row`, or `!error`. A value with a `+` is several."""
        self.done.append(f"fetch: {name}: {query} {parameters!r}")
        answer = self.tables.get(f"{name} {query}")
        if answer is None:
            raise ScriptError(f"there is no datasource `{name}`")
        if answer.startswith("!"):
            return Found(error=answer[1:])
        columns, *rows = answer.split("|")
        values = [tuple(tuple(each.split("+")) if "+" in each else each for each in row.split(",")) for row in rows]
        return Found(tuple(columns.split(",")), values)

    async def execute(self, name: str, query: str, parameters: Any) -> Found:
        self.done.append(f"execute: {name}: {query} {parameters!r}")
        return Found(error=self.tables.get(f"{name} {query}", "").removeprefix("!"))

    @property
    def duplicates(self) -> PlainHost:
        return self

    async def is_known(self, digest: str) -> bool:
        return digest in self.seen

    def remember(self, digests: Mapping[str, float]) -> None:
        self.seen |= digests
        self.done.extend(f"remember: {seconds:.0f} s" for seconds in digests.values())

    async def renew(self, digest: str, seconds: float) -> None:
        self.seen[digest] = seconds
        self.done.append(f"renew: {seconds:g} s")

    @property
    def counters(self) -> SessionCounters:
        return SessionCounters(cast(Session, self.counted), self.counting)

    @property
    def mail(self) -> PlainHost:
        return self

    def forward(self, sender: str, recipients: Sequence[str], text: str, subject: str, original: bytes) -> None:
        to = " ".join(f"<{each}>" for each in recipients)
        self.done.append(f"forward: <{sender}> {to} {subject!r} {text!r} {len(original)} octets")

    def send(self, sender: str, recipients: Sequence[str], text: str) -> None:
        self.done.append(f"send: <{sender}> {' '.join(f'<{each}>' for each in recipients)} {text!r}")

    async def sign(self, settings: Mapping[str, str]) -> None:
        self.done.append(f"sign: {', '.join(f'{name}={value}' for name, value in settings.items())}")

    def now(self) -> float:
        return 1_750_000_100.0

    def random(self, below: int) -> int:
        return secrets.randbelow(below)

    async def callback(self, address: str, sender: str | None) -> CallbackAnswer:
        asked = "" if sender is None else f" as <{sender}>"
        self.done.append(f"callback: {address}{asked}")
        if self.verdict == "raise":
            message = "the resolver is gone"
            raise RuntimeError(message)
        return CallbackAnswer(self.verdict, "250 2.1.5 Ok" if self.verdict == "pass" else "550 5.1.1 No such user")

    async def greylisted(self, name: str) -> float:
        self.done.append(f"greylist: {name}")
        return 42.5 if name == "main" else 0.0

    async def tarpit(self, seconds: float) -> None:
        self.done.append(f"tarpit: {seconds:g} s")

    async def resolve(self, name: str, record: str, server: str | None) -> DnsAnswer:
        self.done.append(f"dns: {name} {record}" + (f" at {server}" if server else ""))
        records = self.zone.get(f"{name} {record}")
        if records is None:
            return DnsAnswer("NXDOMAIN")
        return DnsAnswer("SUCCESS", tuple(records.split()))

    def log(self, text: str) -> None:
        self.done.append(f"log: {text}")

    def count(self, counter: str, code: int) -> None:
        self.done.append(f"count: {counter} {code}")

    def script_failed(self, script: str, line: int, reason: str) -> None:
        self.done.append(f"error: {script}:{line}: {reason}")

    # ------------------------------------------------------------ the message

    def add_header(self, name: str, body: str, *, folded: bool = False) -> None:
        self.done.append(f"add {'folded ' if folded else ''}header: {name}: {body}")
        assert self.message is not None
        self.message.write([(name, body), *self.message.fields()])

    def append_header(self, name: str, body: str) -> None:
        self.done.append(f"append header: {name}: {body}")
        assert self.message is not None
        self.message.write([*self.message.fields(), (name, body)])

    def delete_one_header(self, name: str, number: int) -> None:
        self.done.append(f"delete header: {name} {number}")
        assert self.message is not None
        fields = self.message.fields()
        places = [place for place, each in enumerate(fields) if each[0].lower() == name.lower()]
        del fields[places[number]]
        self.message.write(fields)

    def delete_header(self, name: str) -> None:
        self.done.append(f"delete header: {name}")
        assert self.message is not None
        self.message.write([each for each in self.message.fields() if each[0].lower() != name.lower()])

    def change_header(self, name: str, number: int, body: str) -> None:
        self.done.append(f"change header: {name} {number}: {body}")
        assert self.message is not None
        fields = self.message.fields()
        places = [place for place, each in enumerate(fields) if each[0].lower() == name.lower()]
        fields[places[number]] = (fields[places[number]][0], body)
        self.message.write(fields)

    def mark(self) -> str:
        assert self.message is not None
        return self.message.text

    def go_back(self, mark: str) -> None:
        assert self.message is not None
        if self.message.text != mark:
            self.done.append("undo the edits")
        self.message.text = mark

    def replace_body(self, body: bytes) -> None:
        self.done.append(f"body: {body.decode('utf-8', 'backslashreplace')!r}")

    # ------------------------------------------------------------ the envelope and the session

    def set_sender(self, address: str) -> None:
        self.done.append(f"sender: <{address}>")
        self.sender = address

    def redirect(self, address: str) -> None:
        self.done.append(f"redirect: <{address}>")

    def copy(self, address: str) -> None:
        self.done.append(f"copy: <{address}>")

    def advertise(self, capability: str) -> None:
        self.done.append(f"advertise: {capability}")

    def withdraw(self, capability: str) -> None:
        self.done.append(f"withdraw: {capability}")

    def route(self, gateway: str) -> None:
        self.done.append(f"route: {gateway}")

    def has_binding(self, name: str) -> bool:
        return name in {"default", "slow"}

    def has_binding_group(self, name: str) -> bool:
        return name == "bulk"

    def bind(self, name: str) -> bool:
        self.done.append(f"bind: {name}")
        return self.has_binding(name)

    def bind_to_one_of(self, name: str) -> bool:
        self.done.append(f"bind to one of: {name}")
        return self.has_binding_group(name)

    def option(self, scopes: Sequence[str], name: str) -> str | Sequence[str] | None:
        value = self.options.get(" ".join([*scopes, name]))
        return value.split(",") if value is not None and "," in value else value

    async def spool_space(self) -> tuple[int, int, int]:
        return self.space

    async def bounce_rules(self) -> BounceRules:
        return self.rules

    async def listed_links(self) -> dict[str, list[str]]:
        return self.links

    def interfaces(self) -> Sequence[str]:
        return ["198.51.100.1", "203.0.113.9"]

    def memory(self) -> int:
        return 42

    async def write_line(self, path: str, line: str) -> None:
        if path.startswith("/nowhere"):
            raise FileNotFoundError(2, "No such file or directory")
        self.done.append(f"write {path}: {line}")
