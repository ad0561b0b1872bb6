"""Ringback with a configuration of the test's own: its lines outside every stanza, and a script for each phase."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.ringback import Ringback, Setup
from tests.support.world import Stage

NO_CALLBACK_SERVER = "127.0.0.1:9"
"""A name server for configurations that name hosts by their addresses only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class House(Setup):
    """A setup whose lines are the test's; what it does not say of listener, name and domains is added."""

    nameserver: str = NO_CALLBACK_SERVER
    upstream_port: int = 0
    lines: Sequence[str] = ()
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Option of the `sieve` stanza (`data_phase1`) → the script's text."""

    def write(self, folder: Path) -> Path:
        """Write configuration and scripts; return the path of the configuration."""
        stanza = []
        for option, text in self.scripts.items():
            (folder / f"{option}.siv").write_text(text)
            stanza.append(f'  {option} = "{option}.siv"')
        lines = [*self._given(), *self.lines]
        if stanza:
            lines += ["sieve {", *stanza, "}"]
        configuration = folder / "ecelerity.conf"
        configuration.write_text("\n".join(lines) + "\n")
        return configuration

    def _given(self) -> list[str]:
        said = {line.split()[0] for line in self.lines}
        given = {
            "ESMTP_Listener": f"( 127.0.0.1:{self.listen_port} )",
            "Hostname": '"ringback.test"',
            "Relay_Domains": "( example.com *.example.com other.test *.test )",
            "Nameservers": f'( "{self.nameserver}" )',
        }
        if self.upstream_port:
            given |= {"Gateway": '"127.0.0.1"', "Remote_SMTP_Port": str(self.upstream_port)}
        return [f"{name} = {value}" for name, value in given.items() if name not in said]


async def opened(stage: Stage, folder: Path, *lines: str, **parts: Any) -> Ringback:
    """Start Ringback with these lines and parts of a `House`; it is stopped at the end of the test."""
    (folder / "house").mkdir()
    ringback = await Ringback(House(lines=lines, **parts), folder / "house").started()
    stage._stack.push_async_callback(asyncio.to_thread, ringback.stop)
    return ringback


def transactions(upstream: Exchanger) -> list[tuple[str, ...]]:
    """Return what was said of each message that the upstream accepted: MAIL, then its RCPTs."""
    return [(each.sender, *each.recipients) for each in upstream.messages]


def below_received(content: bytes) -> bytes:
    """Return a message without the one field that Ringback put on top of it."""
    lines = content.split(b"\r\n")
    assert lines[0].startswith(b"Received: from client.test ([127.0.0."), lines[0]
    assert lines[1].startswith(b"\tby ringback.test (Ringback) with ESMTP id "), lines[1]
    folded = 1 + next(at for at, line in enumerate(lines[1:]) if line.endswith(b";"))
    return b"\r\n".join(lines[folded + 2 :])


async def greeted(ringback: Ringback, *, source: str | None = None, name: str = "client.test") -> Conversation:
    """Return a client that has said EHLO."""
    client = await ringback.conversation(source=source)
    await client.ehlo(name)
    return client
