"""The actions of a standard script, which take effect when it ends (RFC 5228, 2.10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from sieve.message.encoded_words import encoded_words, is_plain
from sieve.phases import Effect
from sieve.run.runtime import Frame

GLOBAL = "global."
"""Namespace of the variables that scripts share (RFC 6609, 3.4)."""
INBOX = "INBOX"
"""The mailbox of `keep` (RFC 5228, 4.3)."""


@dataclass(slots=True)
class StandardState:
    """The decisions of one run so far."""

    cancelled: bool = False
    """Whether an action cancelled the implicit keep."""
    kept: bool = False
    refused: bool = False
    redirects: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    """The mailboxes that `fileinto` named."""
    seen: dict[str, float] = field(default_factory=dict)
    """What `duplicate` remembers if the message is accepted: keys of the store, and seconds."""
    before: object = None
    """The header section before the run, if the script may change it."""
    delivered: list[object] = field(default_factory=list)
    """The different header sections with which actions delivered the message, if the script may change them."""
    now: float | None = None
    """The time of all `currentdate` tests (RFC 5260, 5)."""
    returned: bool = False
    globals: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)
    including: list[str] = field(default_factory=list)
    """The script, and the scripts that are being included, the innermost last."""


def begin(frame: Frame) -> None:
    """Create the state of a run."""
    frame.dialect_state = StandardState()
    if Effect.MESSAGE in frame.script.effects and frame.host.message is not None:
        state_of(frame).before = frame.host.edits.mark()


def deliver(frame: Frame) -> None:
    """Note the header section that an action delivers (RFC 5293, 7)."""
    state = state_of(frame)
    if state.before is not None:
        mark = frame.host.edits.mark()
        state.delivered += [] if mark in state.delivered[-1:] else [mark]


def undo(frame: Frame) -> None:
    """Take back the changes of a run that failed: what keeps the message then keeps the original (RFC 5293, 7)."""
    state = frame.dialect_state
    if isinstance(state, StandardState) and state.before is not None:
        frame.host.edits.go_back(state.before)


def state_of(frame: Frame) -> StandardState:
    """Return the state of a run."""
    return cast(StandardState, frame.dialect_state)


def written(text: str) -> str:
    """Return text as a field can hold it (RFC 5293, 4)."""
    return text if is_plain(text) else encoded_words(text)


def finish(frame: Frame) -> None:
    """Apply the decisions: change the envelope, and discard the message if nothing keeps it."""
    state = state_of(frame)
    keeps = state.kept or not state.cancelled
    stays = keeps or bool(state.folders)
    _settle_headers(frame, state)
    for number, address in enumerate(dict.fromkeys(state.redirects)):
        if number == 0 and not stays:
            frame.host.envelope.redirect(address)
        else:
            frame.host.envelope.copy(address)
    frame.discard = not stays and not state.redirects and not frame.replied
    if "fileinto" in frame.script.calls:
        _tell_folders(frame, [*state.folders, INBOX] if keeps and state.folders else state.folders)
    if state.seen and not frame.replied:
        frame.host.duplicates.remember(state.seen)


def _settle_headers(frame: Frame, state: StandardState) -> None:
    """Undo changes after the last delivery. If deliveries differ, all get the last header section."""
    keeps_at_end = not state.cancelled and not state.kept
    if len(state.delivered) == 1 and not keeps_at_end and frame.host.edits.mark() != state.delivered[0]:
        frame.host.edits.go_back(state.delivered[0])


def _tell_folders(frame: Frame, folders: list[str]) -> None:
    """Put the folders into fields, instead of those that the sender wrote."""
    name, message = frame.settings.fileinto_header, frame.host.message
    if message is not None and message.header(name):
        frame.host.edits.delete_header(name)
    for folder in dict.fromkeys(INBOX if each.upper() == INBOX else each for each in folders):
        frame.host.edits.add_header(name, written(folder))
