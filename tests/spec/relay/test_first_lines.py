"""Each row of first_lines.tsv: how a message begins as the client sends it, and as it arrives, by DATA and by BDAT.

In the table `\\n` is CR LF.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exchanger import Exchanger
from tests.support.worker import ALICE, BOB, serving

_LINES = Path(__file__).with_name("first_lines.tsv").read_text(encoding="ascii").splitlines()[1:]
ROWS = [line.split("\t") for line in _LINES]


def octets(cell: str) -> bytes:
    return cell.encode().decode("unicode_escape").encode("latin-1").replace(b"\n", b"\r\n")


@pytest.mark.parametrize("way", ["DATA", "BDAT"])
@pytest.mark.parametrize(("sent", "arrives"), [row[1:] for row in ROWS], ids=[row[0].replace(" ", "-") for row in ROWS])
async def test_a_message_arrives_as_the_row_says(sent: str, arrives: str, way: str) -> None:
    message = octets(sent)
    async with Exchanger() as upstream, serving(upstream) as stage:
        client = await stage.greeted()
        await client.pipeline(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
        if way == "BDAT":
            await client.send_raw(b"BDAT %d LAST\r\n%b" % (len(message), message))
            answer = await client.reply()
        else:
            await client.ask("DATA")
            answer = await client.content(message)
        assert answer == "250 2.0.0 Ok: queued as 000001"
        *received, below = upstream.messages[0].content.split(b"\r\n", 4)
    assert received[0].startswith(b"Received: from client.test ")
    assert below == octets(arrives)
