"""STARTTLS (RFC 3207). Commands pipelined after it have already ended the session."""

from __future__ import annotations

from proxy.mail import replies
from proxy.smtp.dialogue import Dialogue
from proxy.smtp.pending import Answer, Pending
from proxy.smtp.plan import rated
from proxy.smtp.shared import waits_for
from proxy.smtp.tls import ServerCertificate


def starttls(dialogue: Dialogue, argument: bytes) -> Answer:
    """STARTTLS: shake hands, and forget what the client said before."""
    session = dialogue.session
    certificate = dialogue.entrance.certificate(session.options)
    if certificate is None:
        return replies.NOT_IMPLEMENTED
    if argument:
        return replies.NO_ARGUMENT_WANTED
    if session.ssl is not None:
        return replies.TLS_ACTIVE
    rate = session.options.tls_rate_per_client
    refusal = rated(dialogue, "tls", rate, replies.TOO_MUCH_TLS) if rate.count else None
    return (
        _begun(dialogue, certificate) if refusal is None else waits_for(refusal, lambda: _begun(dialogue, certificate))
    )


def _begun(dialogue: Dialogue, certificate: ServerCertificate) -> Answer:
    dialogue.end_transaction()
    return Pending(_secured(dialogue, certificate))


async def _secured(dialogue: Dialogue, certificate: ServerCertificate) -> None:
    dialogue.say(replies.READY_FOR_TLS)
    await dialogue.secure(certificate)
    dialogue.progress.accepted("STARTTLS")
    hook = dialogue.front.hooks.started_tls
    dialogue.barred = hook is not None and not await hook(dialogue.session)
