"""The demo's sample messages, and the checks that compare each result with the expected one.

Samples use the domains of `world`. They open no sockets and print nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.demo.client import ConversationResult, SampleMessage
from proxy.demo.mailhost import AcceptedMessage

STAFF = "staff.example"
"""Its exchanger knows its users."""

CAUTIOUS = "cautious.example"
"""Its exchanger greylists."""

SILENT = "silent.example"
"""Its exchanger accepts connections and says nothing."""

KNOWN_USERS = frozenset({f"alice@{STAFF}", f"dave@{STAFF}"})

OURS = "anna@example.com"
"""A recipient in a domain that the shipped configuration relays for."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One letter with the reply it should get and the exchangers that should be called and asked.

    `calls` names the exchanger of each probe, `asked` the addresses they are asked about. `companion`, when set, is
    sent while the letter's session waits, and should be finished first.
    """

    title: str
    story: str
    letter: SampleMessage
    stage: str
    code: int
    text: str | None
    calls: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    companion: SampleMessage | None = None

    @property
    def delivered(self) -> int:
        """How many messages should reach the upstream."""
        return (self.stage == "dot") + (self.companion is not None)


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation in words, and whether it held."""

    sentence: str
    held: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """What happened to a sample: the outcomes, which exchangers were called and asked, what the upstream took."""

    outcome: ConversationResult
    companion: ConversationResult | None
    calls: tuple[str, ...]
    asked: tuple[str, ...]
    deliveries: tuple[AcceptedMessage, ...]


def judge(sample: Sample, seen: Observed) -> tuple[Check, ...]:
    """Compare what happened with what should have happened."""
    checks = [_reply_check(sample, seen.outcome), _probe_check(sample, seen), _delivery_check(sample, seen)]
    if seen.companion is not None:
        first = seen.companion.accepted and seen.companion.finished < seen.outcome.finished
        checks.append(Check("the second client was served while the first one waited", first))
    return tuple(checks)


def _reply_check(sample: Sample, outcome: ConversationResult) -> Check:
    held = (outcome.stage, outcome.code) == (sample.stage, sample.code)
    held = held and (sample.text is None or outcome.text.startswith(sample.text))
    if sample.stage == "dot":
        return Check(f"accepted: {outcome.code} at the {outcome.stage}" if held else _unexpected(outcome), held)
    return Check(f"refused at {outcome.stage}: {outcome.code} {outcome.text}" if held else _unexpected(outcome), held)


def _unexpected(outcome: ConversationResult) -> str:
    return f"not as it should be: {outcome.code} {outcome.text} at {outcome.stage}"


def _probe_check(sample: Sample, seen: Observed) -> Check:
    if seen.calls != sample.calls:
        return Check(f"probes went to {_listed(seen.calls)} instead of {_listed(sample.calls)}", held=False)
    if seen.asked != sample.asked:
        return Check(f"probes asked about {_listed(seen.asked)} instead of {_listed(sample.asked)}", held=False)
    return Check(f"one probe, to {_listed(seen.calls)}" if seen.calls else "no probe", held=True)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "nobody"


def _delivery_check(sample: Sample, seen: Observed) -> Check:
    if len(seen.deliveries) != sample.delivered:
        return Check(f"the upstream took {len(seen.deliveries)} messages instead of {sample.delivered}", held=False)
    if not seen.deliveries:
        return Check("nothing reached the upstream", held=True)
    sent = {outcome.content for outcome in (seen.outcome, seen.companion) if outcome is not None}
    # Ringback adds trace fields on top (RFC 5321 section 4.4) and must leave the rest as it was.
    intact = all(any(each.content.endswith(content) for content in sent) for each in seen.deliveries)
    words = "the upstream has it, byte for byte" if len(sent) == 1 else "the upstream has both, byte for byte"
    return Check(words if intact else "the upstream has a changed message", intact)


def _letter(sender: str, subject: str, text: str, recipient: str = OURS) -> SampleMessage:
    return SampleMessage(sender, recipient, subject, text)


ALL = (
    Sample(
        "A sender who exists",
        f"{STAFF} knows its users. Its exchanger is asked about alice while she waits, says yes, and her mail is "
        "relayed in the same transaction.",
        _letter(f"alice@{STAFF}", "Lunch", "Noon, at the usual place?"),
        "dot",
        250,
        None,
        calls=(f"mx.{STAFF}",),
        asked=(f"alice@{STAFF}",),
    ),
    Sample(
        "A sender who does not",
        f"{STAFF} has no user ghost. The script refuses with its own words, before a recipient is named.",
        _letter(f"ghost@{STAFF}", "Your invoice", "See attachment."),
        "MAIL",
        550,
        "from address not reachable",
        calls=(f"mx.{STAFF}",),
        asked=(f"ghost@{STAFF}",),
    ),
    Sample(
        "The same forgery again",
        "The answer is remembered: no second probe bothers the exchanger.",
        _letter(f"ghost@{STAFF}", "Your invoice, last reminder", "See attachment."),
        "MAIL",
        550,
        "from address not reachable",
    ),
    Sample(
        "An exchanger that puts us off",
        f"{CAUTIOUS} greylists: it answers 451 to unknown servers. That says nothing about bob, so the script, "
        "which refuses only what failed, lets his mail through.",
        _letter(f"bob@{CAUTIOUS}", "Minutes", "Attached, as promised."),
        "dot",
        250,
        None,
        calls=(f"mx.{CAUTIOUS}",),
        asked=(f"bob@{CAUTIOUS}",),
    ),
    Sample(
        "A bounce",
        "The null sender has no address to ask about. Bounces must go through.",
        _letter("", "Undelivered mail", "Your message could not be delivered."),
        "dot",
        250,
        None,
    ),
    Sample(
        "A stranger who wants a relay",
        "alice is known to exist by now, but elsewhere.example is not ours to relay for.",
        _letter(f"alice@{STAFF}", "Pass it on", "Please?", recipient="someone@elsewhere.example"),
        "RCPT",
        550,
        "5.7.1",
    ),
    Sample(
        "An exchanger that says nothing",
        f"{SILENT} takes the connection and stays silent. Its sender waits until the probe's time is up; meanwhile "
        "another client comes, is served and leaves. Silence is no failure either: both mails are delivered.",
        _letter(f"carol@{SILENT}", "Patience", "This one took a moment."),
        "dot",
        250,
        None,
        calls=(f"mx.{SILENT}",),
        companion=_letter(f"alice@{STAFF}", "In passing", "I did not have to wait."),
    ),
)
