"""The text of the first configuration: commented, and in shadow mode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from config.spelling import in_quotes
from proxy.setup.answers import Answers

SCRIPT = "scripts/sender_callback.siv"
"""The script that the file names, in the same folder."""

STATE = "state"
"""The folder for state, next to the file, if the usual one cannot be used."""

_WIDTH = 78


def text_of(answers: Answers, path: str) -> str:
    """Return the file. `path` is where it will be: comments show how to check it."""
    path = "".join(char if char.isprintable() else "?" for char in path)
    parts = (_head(path, answers), _listener(answers), _recipients(answers), _next_hop(answers), _policy(path))
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(path: str, answers: Answers) -> Iterator[str]:
    yield "# ecelerity.conf: Ringback in front of a mail server."
    yield "#"
    yield f"# Check every change:  ringback check {path}"
    yield f"# See every option:    ringback config show --defaults -c {path}"
    yield "# Relative paths start at the directory of this file."
    for note in answers.found.notes:
        yield "#"
        yield from _comment(f"Note: {note}.")
    if answers.state:
        yield ""
        yield from _comment(
            "For a trial by an ordinary user. A service keeps its state in /var/lib/ringback: remove this line then."
        )
        yield f"State_Directory = {in_quotes(answers.state)}"
    yield ""


def _listener(answers: Answers) -> Iterator[str]:
    yield _title("listener")
    yield from _comment(
        "Address and port to listen on. On the machine that your MX record names, write ( 0.0.0.0:25 ), or "
        "( 0.0.0.0:25 [::]:25 ) with IPv6."
    )
    yield f"ESMTP_Listener = ( {_words(answers.listen)} )"
    yield ""
    yield from _comment(
        "Ringback's name in the greeting, the Received field, and a probe's EHLO. Use the name that this machine's "
        "address resolves to: probed exchangers compare the two."
    )
    yield f"Hostname = {in_quotes(answers.hostname)}"
    found = answers.found
    if found.certificate:
        yield ""
        yield from _comment(
            f"The certificate that {found.server} uses. Ringback's user must be able to read the key, so this is yours "
            "to turn on."
        )
        yield f"#TLS_Certificate = {in_quotes(found.certificate)}"
        yield f"#TLS_Key = {in_quotes(found.key or found.certificate)}"
    yield ""


def _recipients(answers: Answers) -> Iterator[str]:
    yield _title("recipients and relaying")
    yield from _comment(
        "Accept recipients in these domains from every client. All others are rejected with 550 5.7.1. `*.` matches "
        "any subdomain."
    )
    yield from _list("Relay_Domains", answers.domains)
    yield ""
    yield from _comment("Addresses of your own clients that may send to any domain. Their senders are not verified.")
    if answers.networks:
        yield from _list("Relay_Hosts", answers.networks)
    else:
        yield "#Relay_Hosts = ( 192.0.2.0/24 )"
    yield ""


def _next_hop(answers: Answers) -> Iterator[str]:
    yield _title("next hop")
    yield from _comment(
        "Your mail server. A client gets 250 only after this server has replied 250. Which of its settings to change "
        "first: docs/behind-it.md."
    )
    yield f"Gateway = {in_quotes(answers.next_hop)}"
    for domain, where in answers.found.routes:
        yield ""
        yield f"Domain {in_quotes(domain)} {{"
        yield f"  Gateway = {in_quotes(where)}"
        yield "}"
    if answers.found.largest is not None:
        yield ""
        yield from _comment(f"The limit of {answers.found.server}. Clients learn it before they send.")
        yield f"Max_Message_Size = {answers.found.largest}"
    yield ""


def _policy(path: str) -> Iterator[str]:
    yield _title("policy: shadow mode")
    yield from _comment(
        "Ask the sender's mail server whether the sender exists. Before you turn this on for real mail, read "
        "docs/callback-verification.md, which begins with what callbacks do to other people's servers."
    )
    yield "#"
    yield from _comment(
        "`enforce = false` is shadow mode: no sender is refused, and `shadow` events in the log show "
        "what would have been refused. Read the log for a week. Then remove the line and reload:"
    )
    yield f"#   ringback check {path}  and SIGHUP"
    yield "Validate validate/smtp_cbv smtp_cbv passive {"
    yield '  phase = "mailfrom"'
    yield "  enforce = false"
    yield "}"
    yield ""
    yield "Validate validate/sieve sieve {"
    yield f'  mailfrom_phase1 = "{SCRIPT}"'
    yield "}"


def _title(text: str) -> str:
    return f"# -- {text} ".ljust(_WIDTH, "-") + "\n"


def _comment(text: str) -> Iterable[str]:
    return (f"# {line}" for line in wrap(text, _WIDTH - 2, break_long_words=False, break_on_hyphens=False))


def _list(option: str, items: Iterable[str]) -> Iterator[str]:
    """Yield `Option = ( … )`, on several lines if it is long."""
    whole = f"{option} = ( {_words(items)} )"
    if len(whole) <= _WIDTH:
        yield whole
        return
    yield f"{option} = ("
    yield from wrap(_words(items), _WIDTH, initial_indent="  ", subsequent_indent="  ", break_long_words=False)
    yield ")"


def _words(items: Iterable[str]) -> str:
    return " ".join(items)
