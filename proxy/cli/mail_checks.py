"""`ringback check-mail`: what the modules that check senders find about one message, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from config.diagnostics import Source, Span
from config.settings import ModuleSettings
from proxy.app import MODULES, load
from proxy.base.log import silence
from proxy.cli import exits
from proxy.cli.circumstances import HELO, Circumstances, Facts, configured, unconfigured
from proxy.cli.given import check_address, check_ip, content_of
from proxy.cli.grammar.tree import Prints
from proxy.cli.outputs import MailRecord
from proxy.cli.stanza import loaded
from proxy.cli.trial import trial_session
from proxy.dns.resolver import Resolver
from proxy.mail.authentication_results import remove_forged
from proxy.mail.evidence import all_of
from proxy.mail.session import Session
from proxy.mail.stuffing import stuffed
from proxy.mail.validator import Validator
from proxy.mail.verdict import Verdict, decided
from proxy.modules.base import Prepared
from proxy.modules.services import Services
from proxy.smtp.ports import ListensToBodies
from sieve.phases import Phase

_CHECKS = ("iprev", "spf_v1", "dkim_validate", "opendkim", "arc", "openarc", "dnsbl", "dns_rbl", "url_ripper", "dmarc")
"""The modules that are asked, in this order."""

_BY_DEFAULT = frozenset({"iprev", "spf_v1", "dkim_validate", "arc", "dmarc"})
"""Those that are asked even if the configuration does not load them."""

_PHASES = (Phase.CONNECT, Phase.EHLO, Phase.MAILFROM, Phase.RCPTTO, Phase.DATA, Phase.SPOOL)
_WRITTEN = ("Authentication-Results", "Received-SPF", "X-DMARC-Policy")
_RECIPIENT = "somebody@example.org"
"""The recipient, if the command line names none."""


@dataclass(slots=True)
class Found:
    """What was found."""

    session: Session
    verdicts: list[dict[str, object]] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether a module that is not in shadow mode refuses the message."""
        return any(not each["shadow"] for each in self.verdicts)


def check_mail(
    message: Annotated[Path, typer.Argument(metavar="FILE", help="The message; `-`: stdin.", show_default=False)],
    client_ip: Annotated[str, typer.Option("--client-ip", help="The client's address.", show_default=False)],
    helo: Annotated[str, typer.Option("--helo", help="The name that the client gives itself.")] = HELO,
    sender: Annotated[str, typer.Option("--from", help="MAIL FROM; empty is the null sender.")] = "",
    recipients: Annotated[list[str] | None, typer.Option("--rcpt", help="RCPT TO.")] = None,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Use this configuration's modules, blocklists and name servers."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON."), Prints(MailRecord)] = False,
) -> None:
    """Check who sent a message: reverse name, SPF, DKIM, ARC, DMARC and blocklists, and print each finding.

    Without a configuration, all of them are checked with their defaults, except blocklists. Nothing is sent and no
    script runs, but DNS is queried.

    Exit 0: no module refuses the message; 65: one does.
    """
    check_address(sender, may_be_empty=True)
    for recipient in recipients or ():
        check_address(recipient)
    check_ip(client_ip)
    content = content_of(message) or b""
    around = unconfigured(frozenset())
    if config_file is not None:
        around = configured(loaded(config_file, load).settings, Path("-"), Phase.DATA, client_ip, None)
    silence()
    facts = Facts(client_ip, sender, recipients or (_RECIPIENT,), helo)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_checked(facts, around, content))
    record = _record(found)
    if as_json:
        exits.say(json.dumps(record))
    else:
        for line in _lines(record):
            exits.say(line)
    raise typer.Exit(exits.SCRIPT if found.is_refused else 0)


# ---------------------------------------------------------------- checking


async def _checked(facts: Facts, around: Circumstances, content: bytes) -> Found:
    resolver = Resolver([str(server) for server in around.options.nameservers])
    services = Services(around.options, around.settings, resolver)
    found = Found(trial_session(facts, around, content))
    services.background.start()
    try:
        validators = [each for one in _prepared(around) if (each := one.validator(services)) is not None]
        for phase in _PHASES:
            if phase is Phase.DATA:
                await _arrives(validators, found.session)
            for validator in validators:
                await _ask(validator, phase, found)
        await found.session.transaction.settle()
    finally:
        await services.background.close()
        await resolver.close()
        if found.session.transaction.message is not None:
            found.session.transaction.message.close()
    return found


async def _arrives(validators: Sequence[Validator], session: Session) -> None:
    """Pass the body to the validators that read it while a message arrives."""
    message = session.transaction.message
    if message is not None:
        await remove_forged(message, session.options.results_name)
    for each in validators:
        if message is not None and isinstance(each, ListensToBodies):
            listener = await each.listen(session, message)
            if listener is not None:
                await listener.feed(stuffed((await message.raw())[message.head_octets :]))


async def _ask(validator: Validator, phase: Phase, found: Found) -> None:
    hook = validator.hooks().get(phase)
    if hook is None:
        return
    try:
        async with asyncio.timeout(validator.deadline):
            verdict = await decided(hook(found.session))
    except TimeoutError:
        verdict = Verdict()
    if verdict.reply is not None:
        found.verdicts.append(
            {
                "module": validator.name,
                "phase": phase.value,
                "reply": f"{verdict.reply.code} {verdict.reply.text}",
                "shadow": bool(getattr(validator, "shadow", False)),
            }
        )


def _prepared(around: Circumstances) -> Iterator[Prepared]:
    """Yield the stanzas: the configuration's, and defaults for what it does not load."""
    by_type = {module.spec.type: module for module in MODULES}
    present = frozenset({*around.present, *_BY_DEFAULT})
    for kind in _CHECKS:
        stanzas = [each for each in around.settings.modules if each.type == kind and not each.passive]
        if not stanzas and kind in _BY_DEFAULT and kind in by_type and not _replaced(kind, around.present):
            source = Source("defaults", "")
            options = by_type[kind].spec.options()
            stanzas = [ModuleSettings(kind, kind, passive=False, options=options, span=Span(source, 0, 0), _origins={})]
        for each in stanzas:
            yield by_type[kind].prepare(each, present)


def _replaced(kind: str, present: frozenset[str]) -> bool:
    """Whether another module does the same."""
    return (kind == "dkim_validate" and "opendkim" in present) or (kind == "arc" and "openarc" in present)


# ---------------------------------------------------------------- printing


def _record(found: Found) -> dict[str, object]:
    session, message = found.session, found.session.transaction.message
    variables = {**session.context, **session.transaction.context}
    return {
        "client": session.client_ip,
        "helo": session.host_name or "",
        "sender": session.transaction.reverse_path.text,
        "recipients": [each.path.text for each in session.transaction.recipients],
        "checked": not session.can_relay,
        "findings": [
            {
                "method": each.method,
                "result": each.value,
                "about": {f"{one.kind}.{one.name}": one.value for one in each.properties if one.value},
                "comment": each.comment,
            }
            for each in all_of(session, session.transaction)
        ],
        "variables": {name: value for name, value in variables.items() if name.startswith(_PREFIXES)},
        "verdicts": found.verdicts,
        "fields": [f"{name}: {body}" for name in _WRITTEN for body in (message.header(name) if message else ())],
    }


_PREFIXES = ("iprev_", "spf_", "dkim_", "arc_", "dmarc_", "dnsbl_")


def _lines(record: dict[str, object]) -> Iterator[str]:
    yield f"client {record['client']}  helo {record['helo']}  from <{record['sender']}>"
    if not record["checked"]:
        yield "The client may relay (Relay_Hosts), so nothing is checked."
    for each in _dictionaries(record["findings"]):
        about = " ".join([f"{name}={value}" for name, value in _dictionary(each["about"]).items()])
        comment = f"  ({each['comment']})" if each["comment"] else ""
        yield f"  {each['method']:<8} {each['result']:<10} {about}{comment}"
    for name, value in sorted(_dictionary(record["variables"]).items()):
        yield f"  {name} = {value}"
    for verdict in _dictionaries(record["verdicts"]):
        would = "would refuse (shadow)" if verdict["shadow"] else "refuses"
        yield f"{verdict['module']} {would} at {verdict['phase']}: {verdict['reply']}"
    if not record["verdicts"]:
        yield "No module refuses this message."


def _dictionaries(value: object) -> Sequence[dict[str, object]]:
    return value if isinstance(value, list) else ()


def _dictionary(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
