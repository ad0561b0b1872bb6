"""A script's effects besides its reply: on the envelope, the session and the server."""

from __future__ import annotations

import fcntl
import resource
import secrets
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import cast

from config.base.regular_files import append_regular
from config.schema.values import DomainPatterns
from config.settings import Settings
from config.tools.writing import written
from proxy.mail.address import BadParameter, BadPath
from proxy.mail.address import path_of as parsed
from proxy.mail.session import Letter, Path, Session
from proxy.modules.sieve_policy.signing import sign
from proxy.options.core import CoreOptions
from proxy.outbox import composing
from proxy.smtp.ports import Outbox, OutboxUnavailable
from proxy.upstream.routes import DEFAULT_BINDING
from sieve.phases import Phase
from sieve.run import reasons
from sieve.run.threads import ThreadPool, in_thread
from sieve.run.values import ScriptError

ONE_RECIPIENT = frozenset({Phase.RCPTTO, Phase.EACH_RCPT})
"""Phases whose effects apply to the current recipient, not to all of them."""

_BEFORE_MAIL = frozenset({Phase.ACCEPT, Phase.CONNECT, Phase.EHLO})

_MB = 1_000_000
_SIOCGIFADDR = 0x8915
_ADDRESS_AT = 20
"""Offset of the IPv4 address in the kernel's answer (netdevice(7))."""


class SessionEnvelope:
    """Changes to the envelope. The relay sends a new envelope if the next hop has already received another."""

    __slots__ = ("_one", "_session")

    def __init__(self, session: Session, *, one: bool) -> None:
        """`one`: change only the current recipient, not all of them."""
        self._session, self._one = session, one

    def set_sender(self, address: str) -> None:
        """Relay with another reverse-path; empty is the null sender."""
        self._session.transaction.reverse_path = path_of(address)

    def redirect(self, address: str) -> None:
        """Replace the current recipient, or all of them, by `address`."""
        path, session = path_of(address), self._session
        if self._one and session.current_recipient is not None:
            session.current_recipient.target = path
            return
        for recipient in session.transaction.recipients:
            recipient.target = path

    def copy(self, address: str) -> None:
        """Add a recipient."""
        self._session.transaction.copies.append(path_of(address))


class SessionMail:
    """Messages that a script makes. They are held until the script's decision is known."""

    __slots__ = ("_letters", "_session")

    def __init__(self, session: Session, letters: list[Letter]) -> None:
        """Add to the letters of a run."""
        self._session, self._letters = session, letters

    def forward(self, sender: str, recipients: Sequence[str], text: str, subject: str, original: bytes) -> None:
        """Send each recipient a message with this text and the original attached."""
        hostname, now = self._session.options.hostname, time.time()
        by = path_of(sender)
        for recipient in recipients:
            to = path_of(recipient)
            content = composing.forward(by.spoken, to.spoken, text, subject, original, hostname=hostname, now=now)
            self._letters.append(Letter(by, (to,), content, "forward"))

    def send(self, sender: str, recipients: Sequence[str], text: str) -> None:
        """Send a message that the script wrote."""
        by = path_of(sender)
        content = composing.generated(by.spoken, text, hostname=self._session.options.hostname, now=time.time())
        self._letters.append(Letter(by, tuple(map(path_of, recipients)), content, "generated"))

    async def sign(self, settings: Mapping[str, str]) -> None:
        """Sign the letters of this run."""
        await sign(self._letters, settings)


async def settle_letters(session: Session, letters: list[Letter], outbox: Outbox | None, phase: Phase) -> None:
    """Attach letters to the recipient or the message that the script judged; before MAIL, send them at once.

    Raises:
        OutboxUnavailable: they cannot be stored now.
    """
    if session.current_recipient is not None and phase in ONE_RECIPIENT:
        session.current_recipient.letters = [*session.current_recipient.letters, *letters]
    elif phase not in _BEFORE_MAIL:
        session.transaction.letters += letters
    else:
        await send_letters(session, letters, outbox)


async def send_letters(session: Session, letters: list[Letter], outbox: Outbox | None) -> None:
    """Send letters regardless of the message. Raises OutboxUnavailable."""
    if outbox is None:
        raise OutboxUnavailable("there is no outbox")
    await outbox.commit(session, letters)


class NoDuplicates:
    """Knows nothing: there is no server."""

    async def is_known(self, digest: str) -> bool:  # noqa: ARG002 - see above
        """Nothing came before."""
        return False

    def remember(self, digests: Mapping[str, float]) -> None:
        """Nothing is kept."""

    async def renew(self, digest: str, seconds: float) -> None:
        """Nothing is known."""


class SessionControl:
    """The session's EHLO reply and next hop, and the server's settings, addresses, memory and log files."""

    __slots__ = ("_configuration", "_session")

    def __init__(self, session: Session, configuration: Settings) -> None:
        """Look at a session and the configuration it runs under."""
        self._session, self._configuration = session, configuration

    def advertise(self, capability: str) -> None:
        """Add a line to the EHLO reply."""
        self._session.advertised.append(capability)

    def withdraw(self, capability: str) -> None:
        """Remove a line from the EHLO reply, by its keyword."""
        self._session.withdrawn.add(capability.upper().partition(" ")[0])

    def route(self, gateway: str) -> None:
        """Relay the current recipient to another next hop, or all of them if there is no current one."""
        current = self._session.current_recipient
        for recipient in (current,) if current is not None else self._session.transaction.recipients:
            recipient.gateway = gateway

    def has_binding(self, name: str) -> bool:
        """Tell whether the configuration has a binding."""
        return name == DEFAULT_BINDING or self._configuration.scopes.has("binding", name)

    def has_binding_group(self, name: str) -> bool:
        """Tell whether the configuration has a group of bindings."""
        return self._configuration.scopes.has("binding_group", name)

    def bind(self, name: str) -> bool:
        """Relay the message by way of a binding; False if it does not exist."""
        if not self.has_binding(name):
            return False
        self._session.transaction.binding = "" if name == DEFAULT_BINDING else name
        return True

    def bind_to_one_of(self, name: str) -> bool:
        """Relay the message by way of a random binding of a group; False if the group has none."""
        places = self._configuration.scopes.places
        members = [each[1].name for each in places if len(each) == 2 and each[0] == ("binding_group", name)]
        bindings = [each for each in dict.fromkeys(members) if self._configuration.scopes.has("binding", each)]
        return bool(bindings) and self.bind(secrets.choice(bindings))

    def option(self, scopes: Sequence[str], name: str) -> str | Sequence[str] | None:
        """Return an option's effective value in a scope, None if there is no such option or scope."""
        if len(scopes) % 2:
            return None
        named = {kind.lower(): name for kind, name in zip(scopes[::2], scopes[1::2], strict=True)}
        try:
            value = self._configuration.scopes.eval(name, **named).value
        except (KeyError, TypeError):
            return None
        if isinstance(value, tuple | DomainPatterns):
            return [written(each).strip('"') for each in value]
        return "" if value is None else written(value).strip('"')

    def interfaces(self) -> Sequence[str]:
        """Return the IPv4 addresses of this machine, without loopback."""
        found = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            for _, name in socket.if_nameindex():
                try:
                    answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                except OSError:  # it has no IPv4 address
                    continue
                found.append(socket.inet_ntoa(answer[_ADDRESS_AT : _ADDRESS_AT + 4]))
        return [address for address in found if not address.startswith("127.")]

    def memory(self) -> int:
        """Return the memory that the server uses, in MiB."""
        try:
            pages = int(FilePath("/proc/self/statm").read_text(encoding="ascii").split()[1])
        except OSError:  # only Linux has this file; elsewhere return the peak
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        return pages * resource.getpagesize() >> 20

    async def spool_space(self) -> tuple[int, int, int]:
        """Return size and free space of the spool's partition in MB, and the percentage in use."""
        folder = cast(CoreOptions, self._configuration.core).spool_directory or tempfile.gettempdir()
        found = await in_thread(ThreadPool.FILES, lambda: shutil.disk_usage(folder))
        return found.total // _MB, found.free // _MB, round(100 * (found.total - found.free) / found.total)

    async def write_line(self, path: str, line: str) -> None:
        """Append a line to an operator's log file.

        Raises:
            OSError: the file cannot be written.
        """
        content = f"{line}\n".encode("utf-8", "backslashreplace")
        await in_thread(ThreadPool.FILES, lambda: append_regular(FilePath(path), content))


def path_of(address: str) -> Path:
    """Parse a script's address into a path, with the same grammar as a client's.

    Raises:
        ScriptError: it is not an address. It may come from a message, so invalid text must not reach a command.
    """
    try:
        return parsed(address.strip().removeprefix("<").removesuffix(">"))
    except (BadPath, BadParameter):
        raise ScriptError(reasons.not_an_address(address)) from None
