"""The options of `conntrol`: Momentum's pause_time, banner and disconnect_ratware, and our early_talker."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from config.errors import not_a
from config.language.nodes import Value
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader, scalar
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds
from proxy.options.names import BannerValue

_REFUSAL = re.compile(r"(?P<code>[45][0-5][0-9])[ -]\s*(?P<text>\S.*)")


def refusal_of(text: str) -> tuple[int, str] | None:
    """Return the code and text of a one-line SMTP reply; None if it does not refuse."""
    match = _REFUSAL.fullmatch(text.replace("\\r", "").replace("\\n", "\n").strip())
    return None if match is None else (int(match["code"]), match["text"])


def _read_refusal(value: Value, reading: ReadContext) -> str:
    text = scalar(value, reading, "a reply").text
    if text and refusal_of(text) is None:
        raise Unreadable(not_a("a reply that refuses", text, value.span, 'write a code and a text: "421 go away"'))
    return text


RefusalValue = Annotated[str, ValueReader(_read_refusal, "a reply, code and text")]


class ConntrolOptions(Options):
    """Early talkers: spam senders often talk before the greeting, but mail servers rarely do (RFC 5321 section 3.1)."""

    pause_time: Seconds = option(
        5.0,
        zero="off",
        doc="Pause before the greeting; a client must be silent until then. Relay hosts do not wait.",
        unit="seconds",
    )
    early_talker: Literal["reject", "accept"] = option(
        "reject",
        doc="Action when a client talks early: reject with 554, or accept. Scripts see the variable early_talker.",
    )
    banner: BannerValue = option(
        "",
        doc="Greeting after the pause, instead of the listener's. If its last line begins with `220-`, the listener's "
        "follows.",
    )
    disconnect_ratware: RefusalValue = option(
        "", doc="Reply to a client that talks early, which is disconnected at once. Takes precedence over early_talker."
    )


SPEC = ModuleSpec(
    type="conntrol",
    options=ConntrolOptions,
    summary="Connection control: pauses before the greeting, and rejects clients that talk early.",
)
