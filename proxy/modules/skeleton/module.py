"""The module: it checks the EHLO name, gives scripts the result, and rejects."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.mail import replies
from proxy.mail.session import Session
from proxy.mail.validator import Hook, OnError
from proxy.mail.verdict import PASS, Verdict
from proxy.modules.base import PlainModule
from proxy.modules.skeleton.functions import skeleton_name
from proxy.modules.skeleton.options import SPEC, SkeletonOptions
from sieve.phases import Need, Phase


class SkeletonValidator:
    """Judges the name once per EHLO. A worker has one validator for each stanza; it may keep state between sessions."""

    on_error = OnError.ACCEPT
    """If the hook fails or exceeds its deadline, the command passes."""

    deadline = 5.0
    """Seconds for one hook."""

    def __init__(self, name: str, options: SkeletonOptions) -> None:
        """Take the stanza's name and options."""
        self.name = name
        self._options = options

    def hooks(self) -> Mapping[Phase, Hook]:
        """Judge at EHLO."""
        return {Phase.EHLO: self._judge}

    def needs(self, phase: Phase) -> Need:  # noqa: ARG002 - there is no message at EHLO
        """Read nothing of the message."""
        return Need.NOTHING

    def _judge(self, session: Session) -> Verdict:
        name = session.host_name or ""
        session.context.pop("skeleton_name", None)  # a client may say EHLO again
        if not self._options.names.matches(name):
            return PASS
        session.context["skeleton_name"] = name
        if self._options.action == "accept":
            return PASS
        return Verdict(replies.from_policy(550, "5.7.1 Your host name is not welcome here"))


SKELETON = PlainModule(SPEC, SkeletonValidator, functions=(skeleton_name,))
