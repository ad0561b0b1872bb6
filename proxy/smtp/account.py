"""The account of a session, for the log, the metrics and the history: its refusals, and how it ended.

`record` has the events of its mail.
"""

from __future__ import annotations

import time

from proxy.base.log import get_logger, printable
from proxy.mail.replies import Reply
from proxy.metrics.book import BOOK
from proxy.smtp.counting import count_refusal
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.entrance import Entrance
from proxy.smtp.health import is_health_check
from proxy.smtp.record import record_recipient, record_refused
from proxy.smtp.said import tell_dialogue

log = get_logger()


def tell_refusal(dialogue: Dialogue, said: str | bytes, reply: Reply) -> None:
    """Count a refusal, and log it unless it is logged already.

    `said` is the command's verb, or CONNECT. It is empty if no command asked for the reply.
    """
    verb = (said if isinstance(said, str) else said.decode("ascii", "backslashreplace")).upper()
    session, front = dialogue.session, dialogue.front
    session.tally.acted = True
    session.tally.deferred += not reply.permanent
    count_refusal(verb, reply)
    if front.hooks.refused is not None:
        front.hooks.refused(session, reply)
    if front.dialogues is not None:
        tell_dialogue(session.id, session.client_ip, dialogue.connection, front.dialogues)
    if reply is dialogue.recorded:
        return
    if verb == "RCPT":
        upstream = dialogue.relay.upstream if dialogue.relay is not None else ""
        record_recipient(session, dialogue.argument, reply, upstream)
    else:
        record_refused(session, verb, dialogue.argument if verb else b"", reply)


def tell_end(dialogue: Dialogue, entrance: Entrance, reason: str) -> None:
    """Count the end of a session, and log it unless it was a health check."""
    session = dialogue.session
    tally = session.tally
    if is_health_check(session, entrance.own_options, reason):
        dialogue.front.checks.count()
        BOOK.counts[entrance.ended["health_check"]] += 1
        return
    BOOK.counts[entrance.ended["client_gone" if reason == "client gone" else reason]] += 1
    log.info(
        "session",
        session=session.id,
        client=session.client_ip,
        via=session.via,
        helo=printable(session.host_name or "", 64),
        messages=tally.messages,
        recipients=tally.recipients,
        errors=tally.errors,
        seconds=round(time.monotonic() - tally.started, 3),
        ended=reason,
    )
