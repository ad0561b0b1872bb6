"""The process that builds a table: `python -m proxy.lists.building`, started by one worker for all.

Standard input says what to build; for a datasource, its columns follow, several rows per line. The process writes one
line of JSON: how many networks there are, or the error. It is a separate process because parsing a million lines takes
seconds, and sessions must not wait.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from typing import IO, Any

import msgspec

from proxy.lists.networks import MOST_NETWORKS, Gathered, NotANetwork, TooMany, lines_of, read_rbldnsd
from proxy.lists.table import packed, stamp_of, write

_LONGEST_LINE = 65536


class Unbuildable(Exception):
    """The list cannot be built; the text says why."""


def build(asked: dict[str, Any], rows: IO[bytes]) -> dict[str, Any]:
    """Build the table that is asked for; return what came of it.

    Raises:
        Unbuildable: it cannot be built.
        OSError: a file cannot be read or written.
    """
    target, source = Path(asked["target"]), asked.get("file")
    began, gathered = time.monotonic(), Gathered(keeps_values=asked["values"])
    if source is None:
        _read_rows(rows, gathered)
        stamp: list[int] = []
    else:
        with Path(source).open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Unbuildable("it is not a regular file")
            stamp = stamp_of(status)
            read_rbldnsd(lines_of(_short(file)), asked["want"], gathered)
    if gathered.skipped and not len(gathered):
        raise Unbuildable(f"it has no network; {gathered.first_skipped}")
    networks = len(gathered)
    write(target, packed(gathered, stamp=stamp))
    seconds = round(time.monotonic() - began, 3)
    skipped = {"skipped": gathered.skipped, "first_skipped": gathered.first_skipped}
    return {"networks": networks, "seconds": seconds, **skipped}


def _short(file: IO[bytes]) -> Iterable[bytes]:
    """Yield lines; of a long one, its beginning."""
    while line := file.readline(_LONGEST_LINE):
        yield line
        while not line.endswith(b"\n") and line:
            line = file.readline(_LONGEST_LINE)


def _read_rows(rows: IO[bytes], gathered: Gathered) -> None:
    """Gather rows: the network, and the value if there is one."""
    decode = msgspec.json.Decoder(list[list[str | None]]).decode
    number = 0
    for line in rows:
        columns = decode(line)
        networks = columns[0] if columns else []
        values = columns[1] if len(columns) > 1 else repeat("")
        for network, value in zip(networks, values, strict=False):
            number += 1
            text = (network or "").strip()
            try:
                if not gathered.add_usual(text, gathered.number(value or "")):
                    gathered.add(text, gathered.number(value or ""))
            except NotANetwork:
                gathered.skip(f"row {number}: {text[:80]}")
    if len(gathered) > MOST_NETWORKS:
        raise TooMany


def main() -> None:
    """Build what standard input asks for."""
    os.nice(10)
    asked = json.loads(sys.stdin.buffer.readline())
    try:
        told = build(asked, sys.stdin.buffer)
    except OSError as error:
        told = {"error": f"{error.filename or asked['target']}: {error.strerror}"}
    except Unbuildable as error:
        told = {"error": str(error)}
    except TooMany:
        told = {"error": "it has too many networks"}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
