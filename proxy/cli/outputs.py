"""What `check`, `config show`, `probe` and `sieve run` print with `--json`. The schema is made from these types.

A command declares its type beside the option: `Annotated[bool, typer.Option("--json", …), Prints(SieveOutcome)]`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Line = Annotated[int, Field(ge=1)]


class Place(TypedDict):
    """A place in a file; lines and columns count from 1, and the end is exclusive. All are null if it has no place."""

    file: str | None
    line: Line | None
    column: Line | None
    end_line: Line | None
    end_column: Line | None


class NoteRecord(Place):
    """Another place that explains a finding."""

    message: str


class DiagnosticRecord(Place):
    """An error or warning about the configuration or a script."""

    severity: Literal["error", "warning"]
    message: str
    hint: str | None
    notes: list[NoteRecord]


class ScopeRecord(TypedDict):
    """The options that a scope sets."""

    scope: list[list[str]]
    """From the outside in: each the kind and the name."""
    options: dict[str, Any]


class ModuleRecord(TypedDict):
    """A module's stanza."""

    type: str
    name: str
    passive: bool
    origin: NotRequired[str]
    options: dict[str, Any]


class SettingsRecord(TypedDict):
    """A configuration. With `--origin`, an option is an object with `value` and `origin`."""

    options: dict[str, Any]
    scopes: list[ScopeRecord]
    modules: list[ModuleRecord]


class ProbeStep(TypedDict):
    """One step towards a verdict. Other fields depend on the event."""

    ms: float
    event: str


class ProbeRecord(TypedDict):
    """The verdict on an address."""

    question: str
    status: Literal["pass", "fail", "transient", "error"]
    reason: str
    message: str
    why: str
    text: str
    stage: str
    code: int
    exchanger: str
    address: str
    seconds: float
    tls: bool
    catchall: bool
    null_refused: bool
    listed: bool
    cached: bool
    age: float
    dialogue: list[ProbeStep]


class SieveOutcome(TypedDict):
    """What a script decided, and what it would have done."""

    code: int
    text: str
    close: bool
    discard: bool
    ended: bool
    failed: bool
    actions: list[Any]
    log: list[str]
    variables: dict[str, Any]
    vctx_conn: dict[str, str]
    vctx_mess: dict[str, str]
    sender: str
    recipients: list[str]
    mail: list[str]
    headers: list[str]


class FindingRecord(TypedDict):
    """A result of one method, in the words of RFC 8601."""

    method: str
    result: str
    about: dict[str, str]
    """Properties, such as `smtp.mailfrom`."""
    comment: str


class RefusalRecord(TypedDict):
    """A module that refuses the message, or would if it were not in shadow mode."""

    module: str
    phase: str
    reply: str
    shadow: bool


class MailRecord(TypedDict):
    """What the modules that check senders find about a message."""

    client: str
    helo: str
    sender: str
    recipients: list[str]
    checked: bool
    """False if the client may relay, so that nothing is checked."""
    findings: list[FindingRecord]
    variables: dict[str, str]
    verdicts: list[RefusalRecord]
    fields: list[str]
    """The fields that are written into the message, and those that were there."""


class EventRecord(TypedDict):
    """An event; its own fields are in docs/events.md."""

    timestamp: str
    event: str
    level: str


class SaidRecord(TypedDict):
    """A line of a dialogue with the `party`: the client, the next hop, or an exchanger (callback).

    `who` is C for the client's side of the connection, which is Ringback's with the others, and S for the server's.
    """

    session: str
    client: str
    sender: str
    party: Literal["client", "next hop", "callback"]
    who: Literal["C", "S"]
    line: str


class LostRecord(TypedDict):
    """How many rows were lost, because the view was read too slowly."""

    lost: Annotated[int, Field(ge=1)]


class ExplainStep(TypedDict):
    """A step of a session: who was asked, the answer, and the reply that the client would get."""

    phase: str
    who: str
    says: str
    reply: str


class ExplainLimit(TypedDict):
    """A limit that is set for the client."""

    limit: str
    most: str
    now: str


class ExplainRecord(TypedDict):
    """The replies that a client would get, and who decides. `limits` has the limits of each worker."""

    listener: str
    steps: list[ExplainStep]
    reply: str
    decided_by: str
    unknown: list[str]
    limits: dict[str, list[ExplainLimit]]


class UpstreamState(TypedDict):
    """A next hop."""

    name: str
    up: bool


class WorkerCount(TypedDict):
    """The workers of the configuration in force."""

    serving: int
    configured: int


class ConfigurationState(TypedDict):
    """When the configuration was loaded (seconds since the epoch), and whether the last reload worked."""

    loaded: float
    reload_worked: bool


class StatusRecord(TypedDict):
    """The answer of the running server. If it does not run, only `ready` and `problems`."""

    ready: bool
    problems: list[str]
    doubts: NotRequired[list[str]]
    pid: NotRequired[int]
    workers: NotRequired[WorkerCount]
    connections: NotRequired[int]
    draining: NotRequired[int]
    upstreams: NotRequired[list[UpstreamState]]
    configuration: NotRequired[ConfigurationState]


class PageRecord(TypedDict):
    """A link to the page."""

    link: str


class StoryRecord(TypedDict):
    """What the history has about one session, as in its file."""

    file: str
    session: str
    events: list[dict[str, Any]]


class UnreadableFile(TypedDict):
    """A file of the history that cannot be read."""

    file: str
    reason: str


class WhyRecord(TypedDict):
    """What the history has about a subject."""

    subject: str
    stories: list[StoryRecord]
    more: bool
    looked_in: list[str]
    gaps: list[Any]
    unreadable: list[UnreadableFile]
