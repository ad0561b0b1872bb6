"""OpenDKIM as a milter that signs, and a client that brings it one message."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.programs import find_program, free_port

_CHUNK = 32_000
"""Octets of a body at once; a milter takes 65,535."""

_OFFERED = 0x1FFFFF
"""Everything; SMFIP_HDR_LEADSPC is in it: values have the blanks behind the colon."""


@asynccontextmanager
async def signer(folder: Path, pem: bytes, canon: str, algorithm: str = "rsa-sha256") -> AsyncIterator[int]:
    """Run opendkim, which signs for a.test; yield its port."""
    key, port = folder / "key.pem", free_port()
    key.write_bytes(pem)
    key.chmod(0o600)
    lines = [
        "Domain a.test", "Selector s1", f"KeyFile {key}", "Mode s", f"Canonicalization {canon}", "Background no",
        f"SignatureAlgorithm {algorithm}", f"Socket inet:{port}@127.0.0.1", "RequireSafeKeys no", "Syslog no",
    ]  # fmt: skip
    configuration = folder / "opendkim.conf"
    configuration.write_text("\n".join(lines) + "\n")
    program = await asyncio.create_subprocess_exec(
        find_program("opendkim"), "-f", "-x", str(configuration), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _until_it_listens(port)
        yield port
    finally:
        program.kill()  # it would take five seconds to end
        async with asyncio.timeout(20):
            await program.wait()


async def _until_it_listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                await _closed(writer)
                return


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def signed_by_milter(port: int, message: bytes) -> bytes:
    """Return a message with the fields that a milter adds."""
    head, _, body = message.partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    added: list[bytes] = []

    async def say(command: bytes, payload: bytes = b"") -> None:
        writer.write(struct.pack("!I", len(payload) + 1) + command + payload)
        while True:
            (size,) = struct.unpack("!I", await reader.readexactly(4))
            answer = await reader.readexactly(size)
            if answer[:1] in b"ih":
                name, value, _ = answer[5 if answer[:1] == b"i" else 1 :].split(b"\0")
                added.append(name + b":" + (b"" if value[:1] in b" \t" else b" ") + value)
                continue
            assert answer[:1] in b"Ocas", answer
            return

    try:
        async with asyncio.timeout(20):
            await say(b"O", struct.pack("!III", 6, 0x1FF, _OFFERED))
            await say(b"C", b"localhost\x004" + struct.pack("!H", 1234) + b"127.0.0.1\0")
            await say(b"M", b"<alice@a.test>\0")
            await say(b"R", b"<bob@b.test>\0")
            for field in head.replace(b"\r\n ", b"\n ").replace(b"\r\n\t", b"\n\t").split(b"\r\n"):
                name, _, value = field.partition(b":")
                await say(b"L", name + b"\0" + value + b"\0")
            await say(b"N")
            for at in range(0, len(body), _CHUNK):
                await say(b"B", body[at : at + _CHUNK])
            await say(b"E")
    finally:
        await _closed(writer)
    return b"".join(each.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n" for each in added) + message
