"""The table of commands: each verb, its function, and what the session does before the function is called."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.smtp.commands import auth, data, hello, mail, opening, rcpt, simple, tls
from proxy.smtp.pending import Verb

VERBS: Mapping[bytes, Verb] = {
    each.verb.encode(): each
    for each in (
        Verb("EHLO", hello.ehlo, goes_last=True, is_junk=True),
        Verb("HELO", hello.helo, goes_last=True, is_junk=True),
        Verb("MAIL", mail.mail),
        Verb("RCPT", rcpt.rcpt),
        Verb("DATA", data.data, goes_last=True),
        Verb("BDAT", data.bdat, is_ordered=False),
        Verb("RSET", simple.rset, is_junk=True),
        Verb("VRFY", simple.vrfy, goes_last=True, is_junk=True),
        Verb("HELP", simple.help_, is_junk=True),
        Verb("NOOP", simple.noop, goes_last=True, is_junk=True),
        Verb("QUIT", simple.quit_),
        Verb("STARTTLS", tls.starttls, goes_last=True),
        Verb("AUTH", auth.auth),
        Verb("XCLIENT", opening.xclient, goes_last=True),
    )
}
