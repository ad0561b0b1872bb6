"""An upstream as a process of its own, so that it can be killed: what it confirms was written before it says 250.

Run as `python -m tests.support.recorder PORT FOLDER`. Each process writes a file of its own in the folder: a line of
JSON and the content for each message, in one write. The system keeps what was written when the process is killed; what
the kill cut short was never confirmed, and is no message.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.exchanger import Exchanger, Message


@dataclass(frozen=True, slots=True)
class Record:
    """A message that an upstream has."""

    sender: str
    """The address of MAIL, without brackets."""
    recipients: tuple[str, ...]
    """The addresses of RCPT, without brackets."""
    content: bytes
    """As Ringback sent it, our Received field on top and the dots unstuffed."""


class Recorder(Exchanger):
    """Writes each message to a file where others keep it in memory."""

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(port=port)
        self._file = os.open(folder / f"{os.getpid()}.record", os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def _keep(self, message: Message, reply: bytes) -> None:
        if not reply.startswith(b"2"):
            return
        told = {"sender": message.sender, "recipients": message.recipients, "size": len(message.content)}
        record = json.dumps(told).encode() + b"\n" + message.content
        if os.write(self._file, record) != len(record):
            sys.exit("the record cannot be written")  # and so the message is not confirmed


def read_records(folder: Path) -> list[Record]:
    """Return the messages of every process that wrote to the folder."""
    return [record for path in sorted(folder.glob("*.record")) for record in _read(path)]


def _read(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        while (line := file.readline()).endswith(b"\n"):
            told = json.loads(line)
            content = file.read(told["size"])
            if len(content) < told["size"]:
                return
            yield Record(_address(told["sender"]), tuple(_address(each) for each in told["recipients"]), content)


def _address(command: str) -> str:
    return command.partition("<")[2].rpartition(">")[0]


async def _serve(port: int, folder: Path) -> None:
    await Recorder(port, folder).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2])))
