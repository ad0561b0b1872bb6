"""The context variables that the session sets for modules and scripts, by Momentum's names."""

from __future__ import annotations

from proxy.mail.session import Path, Session

Parameters = dict[str, str | None]


def helo_context(name: str, *, extended: bool) -> dict[str, str]:
    """Return the context variables of the client's greeting: the whole command, and its name."""
    return {"ehlo_string": f"{'EHLO' if extended else 'HELO'} {name}", "ehlo_domain": name.strip("[]")}


def mail_context(path: Path, parameters: Parameters) -> dict[str, str]:
    """Return the message's context variables that MAIL sets: the whole command, and the parts of the path."""
    found = {
        "mailfrom_string": f"MAIL FROM:<{path.text}>",
        "mailfrom_localpart": path.local_part,
        "mailfrom_domain": path.domain,
    }
    if parameters and (parameters.get("BODY") or "").upper() == "8BITMIME":
        found["#8bitmime"] = "true"
    return found


def recipient_context(path: Path) -> dict[str, str]:
    """Return those that RCPT sets."""
    return {
        "rcptto_string": f"RCPT TO:<{path.text}>",
        "rcptto_localpart": path.local_part,
        "rcptto_domain": path.domain,
    }


def counts_context(session: Session) -> dict[str, str]:
    """Return the connection's context variables that count messages and recipients."""
    tally = session.tally
    return {
        "connection_message_count": str(tally.messages),
        "connection_rcpt_count": str(tally.recipients),
        "message_rcpt_count": str(len(session.transaction.recipients)),
    }
