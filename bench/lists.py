"""A million networks: how long a table takes to build, how long an answer takes, and the memory of all workers."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

from proxy.lists.building import build
from proxy.lists.table import Table

NETWORKS = 1_000_000
WORKERS = 4
QUESTIONS = 200_000
MOST_SECONDS = 5.0
MOST_MICROSECONDS = 5.0
MOST_MEBIBYTES = 64.0


def written(path: Path) -> None:
    """Write an rbldnsd file of random networks."""
    chance = random.Random(1)
    with path.open("w") as file:
        file.write(":127.0.0.2:Listed $\n")
        for _ in range(NETWORKS):
            address = ".".join(str(each) for each in chance.randbytes(4))
            length = chance.choice((24, 28, 30, 32, 32, 32, 32))
            file.write(f"{address}\n" if length == 32 else f"{address}/{length}\n")


def share(path: Path) -> float:
    """Return the memory in MiB that the mappings of a file take in this process: what is shared counts in part."""
    found, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.endswith(str(path)):
            found = True
        elif found and line.startswith("Pss:"):
            total += int(line.split()[1])
            found = False
    return total / 1024


def asked(table: Table) -> float:
    """Return the microseconds of an answer."""
    chance = random.Random(2)
    addresses = [".".join(str(each) for each in chance.randbytes(4)) for _ in range(QUESTIONS)]
    began = time.perf_counter()
    for address in addresses:
        table.find(address)
    return (time.perf_counter() - began) / QUESTIONS * 1_000_000


def by_workers(path: Path) -> float:
    """Let several processes map the table and ask it; return their memory together, in MiB."""
    readers = []
    ready, go = os.pipe(), os.pipe()
    for _ in range(WORKERS):
        reader, writer = os.pipe()
        readers.append(reader)
        if os.fork() == 0:
            table = Table.mapped(path)
            asked(table)
            os.write(ready[1], b".")
            os.read(go[0], 1)  # all of them have it mapped now
            os.write(writer, str(share(path)).encode())
            os._exit(0)
    for _ in readers:
        os.read(ready[0], 1)
    os.write(go[1], b"." * WORKERS)
    return sum(float(os.read(reader, 64)) for reader in readers)


def main() -> None:
    """Print the figures, and whether they are within the limits."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "networks.txt"), Path(folder, "networks.list")
        written(source)
        began, processor = time.perf_counter(), time.process_time()
        with Path(os.devnull).open("rb") as nothing:
            build({"target": str(target), "file": str(source), "want": "txt", "values": True}, nothing)
        built, processor = time.perf_counter() - began, time.process_time() - processor
        table = Table.mapped(target)
        rows = (
            ("seconds to build", built, MOST_SECONDS),
            ("seconds of processor to build", processor, MOST_SECONDS),
            ("microseconds to ask", asked(table), MOST_MICROSECONDS),
            (f"MiB of {WORKERS} workers together", by_workers(target), MOST_MEBIBYTES),
        )
    for name, found, most in rows:
        print(f"{name:<32} {found:8.2f}  at most {most:g}  {'ok' if found <= most else 'TOO MUCH'}")


if __name__ == "__main__":
    main()
