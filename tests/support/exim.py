"""A real Exim that sends: one message in, delivered to one place before the command ends. `exim_server.py` receives.

Debian lets one mail server be installed at a time, so Exim is often only unpacked (`programs.UNPACKED`); then its
libraries, and the user that its package would make, are put before it by variables.
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.programs import Folder, find_program, unpacked_folder

_ACCOUNT = "Debian-exim"

_CONFIGURATION = """\
primary_hostname = client.test
exim_path = {folder}/exim4
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log-%s
pid_file_path = {folder}/pid
log_selector = +smtp_confirmation
exim_user = nobody
exim_group = {group}
never_users =
keep_environment = *
host_lookup =
tls_advertise_hosts =
dsn_advertise_hosts = *
chunking_advertise_hosts =
allow_utf8_domains = true
acl_smtp_rcpt = accept
local_from_check = false
disable_ipv6 = true
begin routers
there:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  port = {port}
  hosts_require_tls = {tls}
  hosts_avoid_tls = {clear}
  hosts_try_chunking = {chunking}
  tls_verify_certificates = {authority}
  tls_verify_hosts = {tls}
  tls_verify_cert_hostnames =
"""


class Exim:
    """An Exim with a folder of its own."""

    def __init__(self) -> None:
        """Nothing is there before the context is entered."""
        self._folder: Folder | None = None
        self.environment: dict[str, str] = {}
        """The variables that it must be run with."""

    @property
    def folder(self) -> Path:
        """Everything that it reads and writes."""
        assert self._folder is not None, "not entered"
        return self._folder.path

    @property
    def group(self) -> str:
        """The group that its files belong to."""
        return grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return "".join(each.read_text(errors="backslashreplace") for each in sorted(self.folder.glob("log-*")))

    def command(self, *, port: int, authority: Path, tls: bool, chunking: bool) -> list[str]:
        """Return what takes an SMTP dialogue on standard input and delivers its mail to a port of 127.0.0.1.

        `tls`: by STARTTLS only, and the server's certificate must come from `authority`; else never.
        `chunking`: by BDAT if it is offered, as Exim does by default.
        """
        text = _CONFIGURATION.format(
            folder=self.folder,
            group=self.group,
            port=port,
            authority=authority,
            tls="*" if tls else "",
            clear="" if tls else "*",
            chunking="*" if chunking else "",
        )
        (self.folder / "exim.conf").write_text(text)
        return [str(self.folder / "exim4"), "-C", str(self.folder / "exim.conf"), "-odf", "-bs"]

    def __enter__(self) -> Self:
        """Make its folder.

        Raises:
            MissingProgramError: it is neither installed nor unpacked.
        """
        program = find_program("exim4")
        self._folder = Folder("exim")
        try:
            owner = pwd.getpwnam("nobody")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            # The linker ignores LD_* for a set-user-id program that changes its user, as Exim does when it runs
            # itself again for a delivery; a copy without that bit is run by root only and keeps them.
            shutil.copyfile(program, self.folder / "exim4")
            (self.folder / "exim4").chmod(0o755)
            unpacked = unpacked_folder("exim4")
            self.environment = {} if unpacked is None else self._as_installed(unpacked)
        except BaseException:
            self._folder.remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove its folder."""
        if self._folder is not None:
            self._folder.remove()

    def _as_installed(self, unpacked: Path) -> dict[str, str]:
        """Return the variables under which it finds libraries unpacked with it, and its package's user."""
        for name, line in (("passwd", f"{_ACCOUNT}:x:65533:65533::/:/bin/false"), ("group", f"{_ACCOUNT}:x:65533:")):
            kept = [each for each in Path("/etc", name).read_text().splitlines() if not each.startswith(_ACCOUNT)]
            (self.folder / name).write_text("\n".join([*kept, line]) + "\n")
        libraries = sorted({str(each.parent) for each in unpacked.rglob("lib*.so*")})
        return {
            **({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}),
            "LD_PRELOAD": "libnss_wrapper.so",
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.folder / "group"),
        }
