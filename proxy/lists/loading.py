"""`Loader`: has a list's table built, by one process of the machine at a time, and not twice for one reason."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

import proxy
from proxy.base.log import get_logger, printable
from proxy.lists.definition import Definition, NoRows, Rows, places
from proxy.lists.table import Broken, Table, is_current

log = get_logger()

BUILD_SECONDS = 120.0
"""For a list, with the wait for another process that builds it."""

_KILL_SECONDS = 2.0
_POLL_SECONDS = 0.05
_ROWS_TOGETHER = 1000
_ENCODE = msgspec.json.Encoder(enc_hook=str).encode
_MOST_ANSWER = 64 * 1024


class NotLoaded(Exception):
    """The list stays as it was; the text says why."""


class Loader:
    """A worker has one. Beside each table are a lock, and a file whose time says when a worker last tried."""

    def __init__(self, folder: Callable[[], Path], rows: Rows | None) -> None:
        """`folder` is made when a list needs it."""
        self._folder, self._rows = folder, rows

    def path_of(self, definition: Definition) -> Path:
        """Return the file of a list's table; one that cannot be there if no folder can be used."""
        try:
            return self._folder() / f"{definition.key}.list"
        except OSError:
            return Path("/nonexistent") / f"{definition.key}.list"

    async def load(self, definition: Definition, older_than: float) -> str:
        """Build the table, unless its file has not changed, or a process has tried since `older_than`.

        That is in seconds since 1970. Return why the table is not as it should be, or "". A failure is logged once, by
        the process that tried.
        """
        path = self.path_of(definition)
        tried = path.with_suffix(".tried")
        try:
            self._folder()
            async with asyncio.timeout(BUILD_SECONDS), _locked(path.with_suffix(".lock")):
                if _time_of(tried) > older_than:
                    return tried.read_text("utf-8", "replace")
                _note(tried, "")
                if not _is_current(path, definition):
                    await self._build(definition, path)
                return ""
        except TimeoutError:
            why = f"it was not built within {BUILD_SECONDS:g} s"
        except (NoRows, NotLoaded) as error:
            why = str(error)
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
        log.error("list_not_loaded", list=printable(definition.name), reason=printable(why))
        with suppress(OSError):
            _note(tried, why)
        return why

    async def _build(self, definition: Definition, path: Path) -> None:
        asked: dict[str, Any] = {"target": str(path), "values": definition.has_values}
        names: Sequence[str] = ()
        rows: Sequence[Sequence[object]] = ()
        if definition.file:
            asked |= {"file": definition.file, "want": definition.want}
        elif self._rows is None:
            raise NotLoaded(f'no datasource is called "{definition.cache}"')
        else:
            names, rows = await self._rows(definition.cache, definition.query)
        told = await _built(asked, rows, places(definition, names))
        if "error" in told:
            raise NotLoaded(str(told["error"]))
        log.info(
            "list_loaded",
            list=printable(definition.name),
            networks=told["networks"],
            seconds=told["seconds"],
            skipped=told["skipped"],
            first_skipped=printable(str(told["first_skipped"])),
        )


def _one(cell: object) -> object:
    """Return a cell; of a column with several values, the first."""
    return (cell[0] if cell else None) if isinstance(cell, tuple) else cell


def _is_current(path: Path, definition: Definition) -> bool:
    """Whether there is nothing to do: the table was made from the current file."""
    try:
        return bool(definition.file) and is_current(Table.mapped(path), definition.file)
    except (OSError, Broken):
        return False


def _note(path: Path, why: str) -> None:
    """Write how it ended, with the present time; the kernel's own may be some milliseconds old."""
    path.write_text(why, "utf-8", "replace")
    now = time.time()
    os.utime(path, (now, now))


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock that only one process can have. The kernel releases it if the process dies."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(file)


async def _built(asked: dict[str, Any], rows: Sequence[Sequence[object]], at: Sequence[int]) -> dict[str, Any]:
    """Run the building process; return what it reports."""
    place = Path(proxy.__file__).parent.parent
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "proxy.lists.building",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(place)},
        limit=_MOST_ANSWER,
    )
    try:
        await _tell(process, asked, rows, at)
        assert process.stdout is not None  # noqa: S101 — it is a pipe
        answer = await process.stdout.read(_MOST_ANSWER)
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILL_SECONDS):
                    await process.wait()
    try:
        found: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise NotLoaded(f"the process that builds it ended with status {status}") from None
    return found


async def _tell(
    process: asyncio.subprocess.Process, asked: dict[str, Any], rows: Sequence[Sequence[object]], places_: Sequence[int]
) -> None:
    """Send what to build, and these columns of the rows, piece by piece: a million take seconds."""
    assert process.stdin is not None  # noqa: S101 — it is a pipe
    with suppress(ConnectionError):  # it has ended, and its status says more
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        for at in range(0, len(rows), _ROWS_TOGETHER):
            together = rows[at : at + _ROWS_TOGETHER]
            chosen = [[_one(row[place]) for row in together] for place in places_]
            process.stdin.write(_ENCODE(chosen) + b"\n")
            await process.stdin.drain()
        process.stdin.close()
