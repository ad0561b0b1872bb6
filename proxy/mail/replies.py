"""`Reply`, and every reply that Ringback generates, with its enhanced status code.

A reply from the next hop is a `Reply` too, with the next hop's lines. Codes and texts follow RFC 5321 section 4.2,
RFC 3463 and RFC 7505; if other mail servers agree on a code, we use it.
"""

from __future__ import annotations

from typing import final

LONGEST_TEXT = 506
"""Octets in a reply line between the code and the line break (RFC 5321 section 4.5.3.1.5)."""


@final
class Reply:
    """An SMTP reply: the code, the lines without code and line break, and whether to close the session after it.

    It never changes. It is a plain class, because every reply of a next hop becomes one.
    """

    __slots__ = ("accepted", "by", "close", "code", "lines", "permanent", "wire")

    def __init__(self, code: int, lines: tuple[bytes, ...], close: bool = False, by: str = "") -> None:  # noqa: FBT001, FBT002 — it is data
        """Build the reply as sent, with the code on every line (RFC 5321 section 4.2.1)."""
        self.code = code
        self.lines = lines
        self.close = close
        self.by = by
        """Who decided, for the log: an option, a module, a script's line, `protocol`, `ringback`, or `upstream`.

        It is empty in a reply that came from the next hop or from a module's hook.
        """
        self.accepted = 200 <= code < 300
        """Whether the reply is positive (2xx)."""
        self.permanent = code >= 500
        """Whether the reply is a permanent failure (5xx)."""
        head = b"".join([b"%d-%b\r\n" % (code, line) for line in lines[:-1]]) if lines[1:] else b""
        self.wire = b"%b%d %b\r\n" % (head, code, lines[-1])

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not Reply:
            return NotImplemented
        return (self.code, self.lines, self.close) == (other.code, other.lines, other.close)

    def __hash__(self) -> int:
        return hash((self.code, self.lines, self.close))

    def __repr__(self) -> str:
        return f"Reply({self.code}, {self.lines}, close={self.close})"

    @property
    def text(self) -> str:
        """The lines as one text for the log, with non-ASCII bytes escaped."""
        lines = self.lines
        octets = b" / ".join(lines) if lines[1:] else lines[0]
        return octets.decode("ascii", "backslashreplace")

    def closing(self) -> Reply:
        """Return the same reply, after which the session is closed."""
        return Reply(self.code, self.lines, True, self.by)

    def decided_by(self, by: str) -> Reply:
        """Return the same reply, decided by someone else."""
        same = Reply(self.code, self.lines, self.close, by)
        same.wire = self.wire
        return same


def reply(code: int, enhanced: str, text: str, *, close: bool = False, by: str = "protocol") -> Reply:
    """Return a one-line reply with an enhanced status code (RFC 2034)."""
    return Reply(code, (f"{enhanced} {text}".encode("ascii"),), close, by)


def from_policy(code: int, text: str, *, close: bool = False, by: str = "") -> Reply:
    """Return a script's reply: one reply line for each line of `text`, without an added enhanced status code.

    Octets that are not printable ASCII become `?`, so a value taken from a message cannot inject a second reply. A line
    that is too long continues on the next.
    """
    lines = []
    for line in text.split("\n"):
        octets = bytes(octet if 32 <= octet < 127 else 63 for octet in line.encode("ascii", "replace"))  # printable
        while len(octets) > LONGEST_TEXT:
            at = octets.rfind(b" ", LONGEST_TEXT // 2, LONGEST_TEXT)
            cut = at if at > 0 else LONGEST_TEXT
            lines.append(octets[:cut])
            octets = octets[cut:].lstrip(b" ")
        lines.append(octets)
    return Reply(code, tuple(lines), close, by)


def default_policy_text(code: int) -> str:
    """Return the text for a script action that gave a code but no text."""
    return "5.7.1 Refused by policy" if code >= 500 else "4.7.1 Deferred by policy"  # first digit


# ---------------------------------------------------------------- positive

OK = reply(250, "2.0.0", "OK")
SENDER_OK = reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = reply(250, "2.1.5", "Recipient OK")
DISCARDED = reply(250, "2.0.0", "Message accepted")
READY_FOR_TLS = reply(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED = reply(235, "2.7.0", "Authentication successful")
EACH_RECIPIENT = Reply(353, (b"A reply for each recipient follows",))
START_DATA = Reply(354, (b"End data with <CR><LF>.<CR><LF>",))
NO_CHALLENGE = Reply(334, (b"",))
ASK_USER = Reply(334, (b"VXNlcm5hbWU6",))
ASK_PASSWORD = Reply(334, (b"UGFzc3dvcmQ6",))
CANNOT_VERIFY = reply(252, "2.1.5", "Cannot VRFY user; try RCPT to attempt delivery")
HELP = reply(214, "2.0.0", "See RFC 5321")
BYE = reply(221, "2.0.0", "Bye", close=True)
NOT_HTTP = reply(221, "2.7.0", "This is a mail server", close=True)

# ---------------------------------------------------------------- temporary failures

SHUTTING_DOWN = reply(421, "4.3.2", "Service shutting down, try again", close=True, by="shutdown")
ENDED_BY_OPERATOR = reply(421, "4.3.2", "Session ended by the operator, try again", close=True, by="operator")
IDLE_TOO_LONG = reply(421, "4.4.2", "Timeout exceeded, closing", close=True, by="idle_time")
TOO_MANY_SESSIONS = reply(421, "4.7.0", "Too many sessions, try again later", close=True)
TOO_MANY_CONNECTIONS = reply(
    421, "4.7.0", "Too many connections, try again later", close=True, by="connection_rate_per_client"
)
TOO_MUCH_MAIL = reply(450, "4.7.1", "Too much mail, try again later", by="message_rate_per_client")
TOO_MUCH_TLS = reply(454, "4.7.0", "Too many TLS sessions, try again later", by="tls_rate_per_client")
TOO_MANY_MESSAGES = reply(
    421, "4.7.0", "Too many messages in one session", close=True, by="max_receptions_per_connection"
)
TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors, closing", close=True, by="too_many_errors")
TOO_MANY_PASSWORDS = reply(
    421, "4.7.0", "Too many failed authentications, closing", close=True, by="too_many_passwords"
)
NO_PROXY_HEADER = reply(421, "4.5.2", "PROXY header expected, closing", close=True, by="proxy_protocol_networks")
PROXY_NOT_ALLOWED = reply(
    421, "4.7.0", "PROXY header not allowed from this address, closing", close=True, by="proxy_protocol_networks"
)
INTERNAL_CLOSING = reply(421, "4.3.0", "Temporary failure, try again later", close=True, by="ringback")
INTERNAL = reply(451, "4.3.0", "Temporary failure, try again later", by="ringback")
CANNOT_AUTHENTICATE = reply(454, "4.7.0", "Temporary authentication failure, try again later", by="authentication")
UPSTREAM_UNREACHABLE = reply(451, "4.4.1", "Next-hop server is unreachable, try again later", by="upstream")
UPSTREAM_LOST = reply(451, "4.4.2", "Next-hop server did not answer, try again later", by="upstream")
UPSTREAM_BUSY = reply(451, "4.4.5", "Next-hop server is busy, try again later", by="max_outbound_connections")
UPSTREAM_REFUSED_US = reply(451, "4.3.5", "Next-hop server rejected our session, try again later", by="upstream")
ONE_UPSTREAM_AT_A_TIME = reply(
    452, "4.5.3", "Recipients are on different servers; send this one separately", by="routes"
)
ONE_RECIPIENT_AT_A_TIME = reply(
    452, "4.5.3", "Only one recipient per message here; send this one separately", by="multi_recipient"
)
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients", by="max_recipients_per_message")
OUTBOX_FULL = reply(452, "4.3.1", "Insufficient system storage, try again later", by="outbox_size")

# ---------------------------------------------------------------- permanent failures

BAD_SYNTAX = reply(500, "5.5.2", "Syntax error")
NOT_UTF8 = reply(500, "5.5.2", "Bad UTF-8 syntax")
LINE_TOO_LONG = reply(500, "5.5.2", "Command too long")
UNKNOWN_COMMAND = reply(500, "5.5.2", "Command not recognized")
NOT_IMPLEMENTED = reply(502, "5.5.1", "Command not implemented")
NO_ARGUMENT_WANTED = reply(501, "5.5.4", "This command takes no argument")
BDAT_SYNTAX = reply(501, "5.5.4", "Syntax: BDAT octets [LAST]", close=True)
HELO_SYNTAX = reply(501, "5.5.4", "Syntax: HELO or EHLO hostname")
SENDER_SYNTAX = reply(501, "5.1.7", "Bad sender address syntax")
RECIPIENT_SYNTAX = reply(501, "5.1.3", "Bad recipient address syntax")
NO_MAIL_YET = reply(503, "5.5.1", "Need MAIL command")
TLS_ACTIVE = reply(554, "5.5.1", "TLS already active")
TLS_NOT_ACCEPTED = reply(554, "5.7.0", "Command refused due to lack of security", close=True, by="handler")
TLS_BEFORE_AUTH = reply(
    538, "5.7.11", "Encryption required for authentication; use STARTTLS first", by="authentication_without_tls"
)
AUTH_SYNTAX = reply(501, "5.5.4", "Syntax: AUTH mechanism [initial-response]")
UNKNOWN_MECHANISM = reply(504, "5.5.4", "Unrecognized authentication type")
AUTHENTICATED_ALREADY = reply(503, "5.5.1", "Already authenticated")
AUTH_CANCELLED = reply(501, "5.7.0", "Authentication cancelled")
AUTH_LINE_TOO_LONG = reply(500, "5.5.6", "Authentication exchange line too long")
BAD_BASE64 = reply(501, "5.5.2", "Cannot decode base64")
BAD_RESPONSE = reply(501, "5.5.2", "Malformed authentication response")
NOT_AUTHENTICATED = reply(535, "5.7.8", "Authentication credentials invalid", by="authentication")
LISTED = reply(554, "5.7.1", "Your address is not welcome here", close=True, by="refuse_lists")
NO_AUTHORIZATION = reply(550, "5.7.0", "Insufficient authorization", by="xclient_hosts")
XCLIENT_SYNTAX = reply(501, "5.5.4", "Syntax: XCLIENT attribute=value ...")
IN_TRANSACTION = reply(503, "5.5.1", "Not allowed within a mail transaction")
EHLO_FIRST = reply(503, "5.5.1", "Send EHLO first")
NESTED_MAIL = reply(503, "5.5.1", "Nested MAIL command")
NO_RECIPIENTS_YET = reply(503, "5.5.1", "Need RCPT command")
NO_VALID_RECIPIENTS = reply(554, "5.5.1", "No valid recipients")
SYNCHRONIZATION = reply(554, "5.5.0", "SMTP protocol synchronization error", close=True)
BARE_LINE_BREAK = reply(550, "5.5.2", "Bare <CR> or <LF> received; lines end with <CR><LF>")
NO_NULL_SENDER = reply(550, "5.7.1", "Null sender not accepted here")
RELAYING_DENIED = reply(550, "5.7.1", "Relaying denied", by="relay_domains")
TOO_BIG = reply(552, "5.3.4", "Message too big", by="max_message_size")
HEADERS_TOO_BIG = reply(552, "5.3.4", "Header section too big", by="max_header_size")
LOOP = reply(554, "5.4.6", "Too many Received fields: mail loop", by="max_received_headers")
LETTERS_LOOP = reply(554, "5.4.6", "Forwarded too often: mail loop", by="outbox")
LOOP_TO_ITSELF = reply(554, "5.4.6", "This server delivers to itself: mail loop", by="mail_loop")
BAD_PARAMETER = reply(555, "5.5.4", "Unsupported option")
PARAMETER_SYNTAX = reply(501, "5.5.4", "Bad encoding in a parameter: a + must be followed by two hex digits")
NEEDS_SMTPUTF8 = reply(553, "5.6.7", "Non-ASCII address requires SMTPUTF8")
NO_SMTPUTF8_BEHIND = reply(550, "5.6.7", "Next-hop server does not support SMTPUTF8", by="upstream")
NO_BINARYMIME_BEHIND = reply(550, "5.6.3", "Next-hop server does not support BINARYMIME", by="upstream")
BINARYMIME_BY_BDAT = reply(503, "5.5.1", "BINARYMIME requires BDAT")
NO_8BITMIME_BEHIND = reply(550, "5.6.3", "Next-hop server does not support 8BITMIME", by="upstream")

SYNTAX_ERRORS = frozenset(
    each for each in vars().values() if isinstance(each, Reply) and each.code in {500, 501, 555}
) - {UNKNOWN_COMMAND, AUTH_CANCELLED}
"""Replies to a known command with wrong syntax."""
