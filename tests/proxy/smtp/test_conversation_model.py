"""Random conversations against a small model of RFC 5321: what is legal when, and which class of reply it gets."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from enum import Enum, auto
from typing import Any

import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.conversation import Conversation, stuffed
from tests.support.exchanger import Exchanger, says
from tests.support.worker import serving

FAILURES = frozenset({"command_failed", "reception_failed", "task_failed", "validator_failed"})
"""Events that tell of a defect, whatever the client did."""

MOST_ERRORS = 20

NOBODY = "nobody@example.com"
SENDERS = ("<>", "<alice@sender.test>", '<"a b"@sender.test>', "<@route.test:alice@sender.test>")
RECIPIENTS = ("<bob@example.com>", "<postmaster>", "<CAROL@Example.COM>", "<@route.test:dave@example.com>")
BAD_PATHS = ("", "<", "alice", "<alice", "<a@b@c>", "<a b@x.test>", "<alice@>", "<@sender.test>", "<alice@-x.test>")
CONTENTS = (
    b"",
    b".\r\n",
    b"Subject: s\r\n\r\nbody\r\n",
    b"\r\n.\r\n..\r\n",
    b"x" * 5000 + b"\r\n",
    b"A: b\r\n\r\n\xff\0\r\n",
)
REPLY = re.compile(r"(?:(?P<code>[245][0-5][0-9])-[ -~]{0,506}\n)*(?P<last>[2345][0-5][0-9]) (?P<text>[ -~]{0,506})")
ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3} ")


class At(Enum):
    """Where the model stands."""

    CONNECTED = auto()
    READY = auto()
    SENDER = auto()
    REFUSED = auto()
    """After MAIL, and recipients that were all refused."""
    RECIPIENTS = auto()
    CHUNKS = auto()
    """Behind a chunk that was not the last."""
    CLOSED = auto()


IN_TRANSACTION = frozenset({At.SENDER, At.REFUSED, At.RECIPIENTS})


def checked(reply: str) -> int:
    """Return the code of a reply that keeps the grammar of RFC 5321 section 4.2 and RFC 2034."""
    found = REPLY.fullmatch(reply)
    assert found is not None, f"no reply: {reply!r}"
    assert {line[:3] for line in reply.split("\n")} == {found["last"]}
    enhanced = ENHANCED.match(found["text"])
    assert enhanced is None or enhanced[1] == found["last"][0], reply
    return int(found["last"])


class Client(RuleBasedStateMachine):
    """A client that says anything at any time."""

    @initialize()
    def connect(self) -> None:
        """Put up an upstream and a server, and read the banner."""
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.events: list[Any] = self.stack.enter_context(structlog.testing.capture_logs())
        self.at = At.CONNECTED
        self.extended = False
        self.errors = 0
        self.delivered = 0
        self.runner.run(self._connect())

    async def _connect(self) -> None:
        refusal = {NOBODY: says("550 5.1.1 Nobody")}
        self.upstream = await self.stack.enter_async_context(Exchanger(recipients=refusal))
        self.stage = await self.stack.enter_async_context(
            serving(self.upstream, max_message_size=100_000, require_ehlo=True)
        )
        self.client: Conversation = await self.stage.conversation()

    def teardown(self) -> None:
        """End everything and look at what it left behind."""
        if hasattr(self, "runner"):
            try:
                messages = len(self.upstream.messages)
                self.runner.run(self._close())
            finally:
                self.runner.close()
            assert messages == self.delivered
            assert self.upstream.faults == []
            assert [each for each in self.events if each["event"] in FAILURES] == []

    async def _close(self) -> None:
        self.client.abort()
        await self.stage.ended()
        await self.stack.aclose()

    # ---- saying something

    def say(self, sent: bytes, *codes: int) -> None:
        """Send bytes; they must be answered with these codes, and with 421 where errors became too many."""
        self.runner.run(self._say(sent, codes))

    async def _say(self, sent: bytes, codes: tuple[int, ...]) -> None:
        await self.client.send_raw(sent)
        heard = [checked(await self.client.reply()) for _ in codes]
        assert heard == list(codes), sent
        self.errors += sum(code >= 500 for code in codes)
        if self.at is not At.CLOSED and self.errors >= MOST_ERRORS:
            assert checked(await self.client.reply()) == 421
            self.at = At.CLOSED
        if self.at is At.CLOSED:
            assert await self.client.rest() == b""

    def legal(self, *states: At) -> bool:
        """Tell whether a command that these states allow is legal; a message in chunks is given up for it."""
        if self.at is At.CHUNKS:
            self.at = At.READY
        return self.at in states

    # ---- commands

    open_ = precondition(lambda self: getattr(self, "at", At.CLOSED) is not At.CLOSED)

    @open_
    @rule(verb=st.sampled_from(["EHLO", "HELO", "ehlo", "hElO"]))
    def greet(self, verb: str) -> None:
        """EHLO and HELO are always legal and end a transaction."""
        self.at = At.READY
        self.extended = verb.upper() == "EHLO"
        self.say(f"{verb} client.test\r\n".encode(), 250)

    @open_
    @rule(verb=st.sampled_from(["EHLO", "HELO", "EHLO j\u00fcrgen.test"]))
    def greet_badly(self, verb: str) -> None:
        """A greeting without a name changes nothing."""
        self.legal()
        self.say(verb.encode() + b"\r\n", 501)

    @open_
    @rule(path=st.sampled_from(SENDERS), size=st.sampled_from(["", " SIZE=100", " size=100001", " BODY=8BITMIME"]))
    def mail(self, path: str, size: str) -> None:
        """MAIL begins a transaction where none runs."""
        command = f"MAIL FROM:{path}{size}\r\n".encode()
        if not self.legal(At.READY):
            self.say(command, 503)
        elif "100001" in size:
            self.say(command, 552)
        else:
            self.at = At.SENDER
            self.say(command, 250)

    @open_
    @rule(path=st.sampled_from(BAD_PATHS))
    def mail_badly(self, path: str) -> None:
        """Order is judged before syntax."""
        self.say(f"MAIL FROM:{path}\r\n".encode(), 501 if self.legal(At.READY) else 503)

    @open_
    @rule(path=st.sampled_from(RECIPIENTS))
    def rcpt(self, path: str) -> None:
        """RCPT adds a recipient to a transaction."""
        if self.legal(*IN_TRANSACTION):
            self.at = At.RECIPIENTS
            self.say(f"RCPT TO:{path}\r\n".encode(), 250)
        else:
            self.say(f"RCPT TO:{path}\r\n".encode(), 503)

    @open_
    @rule(path=st.sampled_from([f"<{NOBODY}>", "<bob@elsewhere.test>", "<bob%elsewhere.test@example.com>"]))
    def rcpt_refused(self, path: str) -> None:
        """A recipient that is refused changes nothing but the reason why DATA is."""
        legal = self.legal(*IN_TRANSACTION)
        if self.at is At.SENDER and NOBODY in path:
            self.at = At.REFUSED
        self.say(f"RCPT TO:{path}\r\n".encode(), 550 if legal else 503)

    @open_
    @rule(path=st.sampled_from(BAD_PATHS))
    def rcpt_badly(self, path: str) -> None:
        """Order is judged before syntax."""
        self.say(f"RCPT TO:{path}\r\n".encode(), 501 if self.legal(*IN_TRANSACTION) else 503)

    @open_
    @rule()
    def envelope(self) -> None:
        """A whole envelope may be pipelined; without this rule few conversations would come to a message."""
        if not self.extended:
            self.at, self.extended = At.READY, True
            self.say(b"EHLO client.test\r\n", 250)
        if self.at is At.CLOSED:
            return
        self.at = At.RECIPIENTS
        self.say(b"RSET\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\n", 250, 250, 250)

    @precondition(lambda self: getattr(self, "at", At.CLOSED) is not At.CLOSED and not self.extended)
    @rule(commands=st.sampled_from([b"RSET\r\nMAIL FROM:<>\r\n", b"HELP\r\n\r\n", b"QUIT\r\nx"]))
    def pipeline_without_ehlo(self, commands: bytes) -> None:
        """Who has not said EHLO may not pipeline."""
        self.at = At.CLOSED
        self.say(commands, 554)

    @open_
    @rule(content=st.sampled_from(CONTENTS), halves=st.booleans())
    def data(self, content: bytes, halves: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """DATA takes a message if there are recipients."""
        if not self.legal(At.RECIPIENTS):
            self.say(b"DATA\r\n", 554 if self.at is At.REFUSED else 503)
            return
        self.say(b"DATA\r\n", 354)
        self.at, self.errors = At.READY, 0
        self.delivered += 1
        sent = stuffed(content) + b".\r\n"
        if halves:
            self.say(sent[: len(sent) // 2])
            sent = sent[len(sent) // 2 :]
        self.say(sent, 250)

    @open_
    @rule(size=st.sampled_from([100_001, 150_000]))
    def data_too_big(self, size: int) -> None:
        """A message that is too big is refused at its dot."""
        if self.legal(At.RECIPIENTS):
            self.say(b"DATA\r\n", 354)
            self.at = At.READY
            self.say(b"A: b\r\n\r\n" + b"x" * size + b"\r\n.\r\n", 552)

    @open_
    @rule(content=st.sampled_from(CONTENTS), last=st.booleans())
    def bdat(self, content: bytes, last: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """BDAT takes a chunk if there are recipients or chunks; its octets are read in any case."""
        sent = b"BDAT %d%s\r\n" % (len(content), b" LAST" if last else b"") + content
        if self.at not in {At.RECIPIENTS, At.CHUNKS}:
            self.say(sent, 554 if self.at in {At.SENDER, At.REFUSED} else 503)
            return
        self.at = At.READY if last else At.CHUNKS
        if last:
            self.errors = 0
            self.delivered += 1
        self.say(sent, 250)

    @open_
    @rule()
    def bdat_too_big(self) -> None:
        """A chunk that is too big is refused and ends the transaction; before a greeting it is no greeting."""
        if not self.legal(At.CONNECTED):
            self.at = At.READY
        self.say(b"BDAT 100001\r\n" + b"x" * 100_001, 552)

    @open_
    @rule(argument=st.sampled_from(["", " x", " -1", " 5 FIRST", " 5LAST"]))
    def bdat_badly(self, argument: str) -> None:
        """How much follows is not known, so that the session ends."""
        self.at = At.CLOSED
        self.say(f"BDAT{argument}\r\n".encode(), 501)

    @open_
    @rule()
    def rset(self) -> None:
        """RSET ends a transaction."""
        if not self.legal(At.CONNECTED):
            self.at = At.READY
        self.say(b"RSET\r\n", 250)

    @open_
    @rule()
    def noop(self) -> None:
        """NOOP changes nothing, not even between chunks."""
        self.say(b"NOOP\r\n", 250)

    @open_
    @rule(
        case=st.sampled_from(
            [
                (b"VRFY bob\r\n", 252), (b"VRFY\r\n", 500), (b"HELP\r\n", 214), (b"EXPN list\r\n", 502),
                (b"FROB\r\n", 500), (b"\r\n", 500), (b"RSET x\r\n", 501), (b"QUIT x\r\n", 501), (b"NO\0OP\r\n", 500),
                (b"NOOP\n", 550), (b"NOOP\rRSET\r\n", 550), (b"x" * 3000 + b"\r\n", 500), (b"\xff\xfe\r\n", 500),
            ]
        )
    )  # fmt: skip
    def anything_else(self, case: tuple[bytes, int]) -> None:
        """What is not a command of the transaction changes nothing, but a message in chunks is given up."""
        self.legal()
        self.say(*case)

    @open_
    @rule()
    def starttls(self) -> None:
        """There is no certificate here."""
        legal = self.legal(At.CONNECTED, At.READY)
        self.say(b"STARTTLS\r\n", 502 if legal else 503)

    @precondition(lambda self: getattr(self, "at", At.CONNECTED) is At.CLOSED)
    @rule()
    def come_again(self) -> None:
        """A client may come as often as it likes."""
        self.client.abort()
        self.client = self.runner.run(self.stage.conversation())
        self.at, self.extended, self.errors = At.CONNECTED, False, 0

    @open_
    @rule(how=st.sampled_from(["quit", "drop"]))
    def leave(self, how: str) -> None:
        """A client may leave at any time."""
        self.at = At.CLOSED
        if how == "quit":
            self.say(b"QUIT\r\n", 221)
        else:
            self.client.abort()


Client.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_every_conversation_goes_as_the_model_says = Client.TestCase
