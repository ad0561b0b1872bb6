"""What a field of an event means. A name has one type, one unit and one meaning in all events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A field's meaning; `personal` if its value can be about a person: an address, a name, a client, foreign words."""

    doc: str
    type: str = "string"
    """A type of JSON Schema; `strings` is an array of strings, `status` an integer or a string,
    `arrays` an array of arrays, `integers` an array of integers."""
    unit: str = ""
    personal: bool = False


SCHEMAS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "status": {"type": ["integer", "string"]},
    "arrays": {"type": "array", "items": {"type": "array"}},
    "integers": {"type": "array", "items": {"type": "integer"}},
}
"""What JSON Schema says of each type."""


def _text(doc: str, *, personal: bool = False) -> Field:
    return Field(doc, personal=personal)


def _count(doc: str, unit: str = "") -> Field:
    return Field(doc, "integer", unit)


def _stage(doc: str) -> Field:
    return Field(doc, "number", "milliseconds")


ALWAYS = {
    "event": _text("the event's name"),
    "level": _text("debug, info, warning or error"),
    "timestamp": _text("UTC, RFC 3339"),
}
"""What every line has."""

FIELDS: dict[str, Field] = {
    # ---- a session
    "session": _text("the client connection; the same in all its events, and in Received"),
    "transaction": _text("a MAIL FROM and everything up to the end of its message; the id in Received"),
    "client": _text("the client's address", personal=True),
    "via": _text("the proxy that named the client; empty if the client connected directly"),
    "helo": _text("the client's name in EHLO or HELO", personal=True),
    "tls": _text("the TLS version; empty without TLS"),
    "cipher": _text("the TLS cipher; empty without TLS"),
    "user": _text("the authenticated user; empty without AUTH", personal=True),
    "mechanism": _text("the mechanism of AUTH"),
    "command": _text("the SMTP command; CONNECT is the greeting"),
    "argument": _text("the command's argument as sent; empty for AUTH", personal=True),
    "ended": _text("why the session ended: quit, timeout, client gone, shutdown, failed or refused (at its greeting)"),
    "messages": _count("messages sent"),
    "errors": _count("commands rejected since the last delivered message"),
    "checks": _count("connections of health checks since the last such event"),
    # ---- mail
    "sender": _text("the reverse-path; empty for the null sender", personal=True),
    "recipient": _text("a recipient", personal=True),
    "recipients": Field("the first ten recipients", "strings", personal=True),
    "known_as": _text("what greylisting treats as the client: a network, or `spf:` and a domain"),
    "first_attempt": Field("whether it is the first attempt that counts", "boolean"),
    "wait": Field("how long until an attempt passes", "number", "seconds"),
    "recipient_count": _count("accepted recipients"),
    "message_id": _text("the Message-ID field", personal=True),
    "size": _count("the message as received", "octets"),
    "phase": _text("where it was decided: connect, ehlo, auth, mailfrom, rcptto, data, …"),
    "disposition": _text(
        "relayed, refused (5xx), deferred (4xx), discarded, or lost (the transaction ended without a reply)"
    ),
    "decided_by": _text("`script FILE:LINE`, a module, the name of an option, `upstream HOST:PORT`, or `protocol`"),
    "code": _count("the reply code; 0 without a reply"),
    "enhanced": _text("the reply's enhanced status code; empty if it has none"),
    "reply": _text("the reply as sent, lines joined by ` / `", personal=True),
    "upstream": _text("the next hop in the configuration"),
    "taken_by": _text("which address of the next hop accepted the message"),
    "queue_id": _text("the queue id in the next hop's reply; empty if its form is unknown"),
    "client_ms": _stage("time waiting for the client"),
    "policy_ms": _stage("time in policy, without callbacks"),
    "callback_ms": _stage("time waiting for callbacks"),
    "upstream_ms": _stage("time waiting for the next hop"),
    "dmarc": Field(
        "what a DMARC report says about the message: domains, results, the published policy, and what was done",
        "object",
        personal=True,
    ),
    "authentication": _text("what sender checks found, such as `spf=pass dkim=fail/example.com`"),
    "results": _text(
        "the results with the domain or address that each is about, as in `Authentication-Results`", personal=True
    ),
    "lines": Field("lines of text", "strings", personal=True),
    "milliseconds": Field("for each of the lines, the milliseconds since the connection", "integers"),
    "asked_outside": Field('queries and answers: `["dns", "mx", "example.com", …]`', "arrays", personal=True),
    "conversation": _text("lines, each with its milliseconds, and C for Ringback or S for the server", personal=True),
    "dropped": _count("how many more were not kept"),
    # ---- the history
    "first": _text("when it began, RFC 3339"),
    "last": _text("when it ended, RFC 3339"),
    "details": _count("missing recipients and sessions of accepted mail"),
    "accepted": _count("missing messages that were accepted"),
    "others": _count("other missing events"),
    "refusals": _count("missing refusals"),
    # ---- callbacks
    "callback_status": _text("the status of the callback, if one was made and did not pass"),
    "callback_reason": _text("its reason"),
    "callback_text": _text("the exchanger's own words", personal=True),
    "address": _text("the address in question: of mail, or of a machine", personal=True),
    "status": Field("the verdict; of a process, its exit status or a signal's name", "status"),
    "stage": _text("where the conversation ended: dns, connect, banner, ehlo, mail, rcpt"),
    "text": _text("text from a script, an exchanger, or a line in a file", personal=True),
    "exchanger": _text("the exchanger's name"),
    "ip": _text("the exchanger's address"),
    "probe_tls": Field("whether the exchanger was asked over TLS", "boolean"),
    "domain": _text("a mail domain", personal=True),
    "asked": _count("questions"),
    "answers": Field("answers by status, reason and whether they were cached", "object"),
    "times": _count("how often in a row"),
    # ---- letters
    "letter": _count("the number of a message that Ringback generated"),
    "purpose": _text("forward, generated or report"),
    "origin": _text("the transaction that created it"),
    "letters": _count("messages that Ringback generated"),
    "deliveries": _count("deliveries stored"),
    "octets": _count("size", "octets"),
    "hops": _count("X-Ringback-Letter fields"),
    "reported": Field("whether the sender got a report", "boolean"),
    "folder": _text("a folder"),
    # ---- scripts and modules
    "script": _text("the script's file"),
    "line": _count("a line's number"),
    "column": _count("a column's number"),
    "counter": _text("the counter's name"),
    "validator": _text("the module's name"),
    "list": _text("a list of networks"),
    "network": _text("a network", personal=True),
    "change": _text("added, removed or ended"),
    "networks": _count("networks in the list"),
    "skipped": _count("lines that are not networks"),
    "first_skipped": _text("the first of them", personal=True),
    "hook": _text("the hook's name"),
    "zone": _text("a blocklist's or allow list's zone"),
    "listed": _text("the address or name that is listed", personal=True),
    "answer": _text("the zone's answers, IPv4 addresses"),
    "weight": _count("what it adds to the score"),
    "allow": Field("whether the zone is an allow list", "boolean"),
    # ---- the service
    "library": _text("the library's logger"),
    "reason": _text("why", personal=True),
    "seconds": Field("duration", "number", "seconds"),
    "exception": _text("a Python traceback"),
    "operator": _text("the local user at the console"),
    "console_command": _text("the console command, with no word shortened"),
    "outcome": _text("the result: done, not authorized, or why it failed"),
    "question": _text("what the control process asked"),
    "worker": _count("the process's number; 0 is the keeper, -1 the control process"),
    "pid": _count("the process id"),
    "state": _text("the process's state in the kernel"),
    "stack": _text("the process's stack"),
    "serves": Field("whether it was already serving", "boolean"),
    "workers": _count("workers that serve"),
    "sessions": _count("running sessions"),
    "now": Field("whether sessions are closed at once", "boolean"),
    "addresses": Field("listening addresses", "strings"),
    "warnings": _count("warnings of the configuration"),
    "diagnostics": _text("what is wrong"),
    "message": _text("the warning"),
    "file": _text("the configuration file"),
    "hint": _text("what to write instead"),
    "diagnostic": _text("the kind of a warning, such as `not_enforced`"),
    "count": _count("how many"),
    "limit": _count("the limit of open files"),
    "wanted": _count("open files that the configuration needs"),
    "certificate": _text("the certificate's file"),
    "path": _text("a file"),
    "datasource": _text("the name of a datasource"),
    "server": _text("the URI of a datasource's server, without its password"),
    "aside": _text("the file's new name"),
    "users": _count("users in the file"),
    "task": _text("the task's name"),
    "owner": _text("the task's owner"),
    "step": _text("the command that was answered; of a part, start or stop"),
    "host": _text("a host name"),
    "store": _text("the store's name"),
    "operations_in_memory": _count("operations done in memory in the meantime"),
    "throttle": _text("the name of a script's throttle"),
    "throttle_limit": _text("events and seconds of a throttle"),
    "operations": _count("operations of counting"),
    "entries": _count("entries that were read"),
    "policy": _text("Redis's maxmemory-policy"),
    "probes": _count("probes in progress"),
    "verdicts": _count("verdicts taken over"),
    "part": _text("the part of the control process"),
    "peer": Field("the worker at the other end", "status"),
    "unanswered": _count("queries without an answer"),
    "waiting": _count("queries that are waiting"),
}
"""The vocabulary."""
