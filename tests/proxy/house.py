"""A configuration in a folder, the worker that serves it, and a client of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from proxy.app import load_service
from proxy.server.worker import Worker
from tests.proxy.stage import ALICE, BOB, LETTER, settled
from tests.support.conversation import Conversation

ACCEPTED = "250 2.0.0 Ok: queued as 000001"
SENDER_OK = "250 2.1.0 Sender OK"
RECIPIENT_OK = "250 2.1.5 Ok"


class House:
    """A configuration in a folder, with its scripts."""

    def __init__(self, folder: Path, upstream: int, exchanger: int = 25) -> None:
        self.folder, self.upstream, self.exchanger = folder, upstream, exchanger
        self.lines: list[str] = []

    def callback(self, *options: str, kind: str = "passive") -> House:
        self.lines += [
            f"smtp_cbv {kind} {{",
            f"  port = {self.exchanger}",
            '  store = "memory"',
            '  map = [ sender.test = "127.0.0.1" ]',
            *(f"  {each}" for each in options),
            "}",
        ]
        return self

    def scripts(self, *options: str, **scripts: str) -> House:
        self.lines.append("sieve {")
        for phase, text in scripts.items():
            (self.folder / f"{phase}.siv").write_text(text)
            self.lines.append(f'  {phase} = "{phase}.siv"')
        self.lines += [*(f"  {each}" for each in options), "}"]
        return self

    def write(self) -> Path:
        path = self.folder / "ecelerity.conf"
        head = [
            "ESMTP_Listener = ( 127.0.0.1:0 )",
            'Hostname = "ringback.test"',
            "Relay_Domains = ( example.com )",
            'Gateway = "127.0.0.1"',
            f"Remote_SMTP_Port = {self.upstream}",
        ]
        path.write_text("\n".join([*head, *self.lines]) + "\n")
        return path


@contextlib.asynccontextmanager
async def client_of(house: House) -> AsyncIterator[Conversation]:
    """Serve the house and greet as a client."""
    worker: Worker = load_service(house.write())
    await worker.start()
    try:
        await settled(*worker._pools._pools.values())
        client = await Conversation.connect(*worker.addresses[0])
        try:
            client.banner = await client.reply()
            if client.banner.startswith("220"):
                await client.ehlo()
            yield client
        finally:
            client.abort()
    finally:
        await worker.stop(now=True)


async def transaction(client: Conversation, *recipients: str, sender: str = ALICE) -> list[str]:
    """Return the replies to MAIL, each RCPT, and the dot, as far as it goes."""
    answers = [await client.ask(f"MAIL FROM:<{sender}>")]
    if not answers[0].startswith("250"):
        return answers
    answers += [await client.ask(f"RCPT TO:<{each}>") for each in recipients or (BOB,)]
    if not any(each.startswith("250") for each in answers[1:]):
        return answers
    assert (await client.ask("DATA")).startswith("354")
    return [*answers, await client.content(LETTER)]
