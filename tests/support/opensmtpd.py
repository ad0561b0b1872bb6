"""A real OpenSMTPD that takes mail for one domain: an exchanger whose wording and timing are its own.

All its paths are fixed when it is compiled, and Debian lets one mail server be installed at a time; so it runs in a
root folder of its own (chroot), with copies of its programs and libraries and the users that its package would make.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.programs import accepts_connections, find_program, free_port, unpacked_folder
from tests.support.servers import Server

_USERS = {"root": 0, "inbox": 65530, "opensmtpd": 65531, "opensmtpq": 65532}

_FOLDERS = (
    "etc",
    "bin",
    "usr/sbin",
    "usr/libexec",
    "var/spool",
    "var/run",
    "var/mail",
    "var/lib/opensmtpd/empty",
    "mail",
)

_LIBEXEC = "usr/libexec/opensmtpd"


class OpenSmtpd(Server):
    """An OpenSMTPD that takes mail for its recipients and puts all of it into one maildir; all else is refused."""

    program = "smtpd"

    def __init__(self, recipients: Sequence[str], *, address: str = "127.0.0.1", port: int = 0) -> None:
        """Describe it: whole addresses, all of one domain; a port of 0 is a free one."""
        super().__init__()
        self._recipients, self._host = recipients, address
        (self._domain,) = {each.rpartition("@")[2] for each in recipients}
        self.port = port or free_port(address)

    @property
    def address(self) -> str:
        """`address:port`."""
        return f"{self._host}:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.running.printed()

    def delivered(self) -> list[bytes]:
        """Return the messages in the maildir, with the line ends of the wire; its own header fields come first."""
        return [path.read_bytes().replace(b"\n", b"\r\n") for path in sorted((self.folder / "mail/new").glob("*"))]

    def _prepare(self) -> list[str]:
        for each in _FOLDERS:
            (self.folder / each).mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        (self.folder / "tmp").chmod(0o1777)
        os.chown(self.folder / "mail", _USERS["inbox"], _USERS["inbox"])
        program = Path(find_program(self.program))
        installed = unpacked_folder(self.program) or Path("/")
        shutil.copytree(installed / _LIBEXEC, self.folder / _LIBEXEC)
        for each in (program, program.parent / "smtpctl"):
            shutil.copy(each, self.folder / "usr/sbin" / each.name)
        shutil.copy("/bin/sh", self.folder / "bin/sh")  # delivery agents are run by a shell
        self._copy_libraries(program, program.parent / "smtpctl", Path("/bin/sh"))
        for name, text in self._files().items():
            (self.folder / "etc" / name).write_text(text)
        return [find_program("chroot"), str(self.folder), "/usr/sbin/smtpd", "-d"]

    def _copy_libraries(self, *programs: Path) -> None:
        shown = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
        for library in set(re.findall(r"(/\S+) \(0x", shown)):
            copy = self.folder / library.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, copy)

    def _files(self) -> dict[str, str]:
        # Known recipients are matched first: one that only the expansion does not know is 524 5.2.4, not 550.
        known = ", ".join(f'"{each}"' for each in self._recipients)
        inboxes = ", ".join(f'"{each}" = "inbox"' for each in self._recipients)
        return {
            "passwd": "".join(f"{name}:x:{number}:{number}::/mail:/bin/sh\n" for name, number in _USERS.items()),
            "group": "".join(f"{name}:x:{number}:\n" for name, number in _USERS.items()),
            "mailname": f"mx.{self._domain}\n",
            "smtpd.conf": f"table known {{ {known} }}\ntable inboxes {{ {inboxes} }}\n"
            f"listen on {self._host} port {self.port} hostname mx.{self._domain}\n"
            'action "keep" maildir "/mail" virtual <inboxes>\n'
            f'match from any for domain "{self._domain}" rcpt-to <known> action "keep"\n',
        }

    def _is_ready(self) -> bool:
        return accepts_connections(self._host, self.port)
