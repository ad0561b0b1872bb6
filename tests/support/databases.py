"""Real databases and directories for tests: PostgreSQL, MariaDB, and OpenLDAP's slapd, each in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

from tests.support.programs import accepts_connections, find_program
from tests.support.servers import Server

PASSWORD = "hunter2-of-tests"


def _as_other(user: str) -> list[str]:
    """Return the words that run a command as a user, if we are root: some servers refuse to be root."""
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if os.geteuid() == 0 else []


def _give(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        for parent in path.parents:
            if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)


class Postgres(Server):
    """PostgreSQL with the user `mx` and the database `mail`."""

    program = "postgres"

    def uri(self, **more: str) -> str:
        """Return the URI of a datasource."""
        fields = {"host": "127.0.0.1", "port": str(self.port), "dbname": "mail", "user": "mx", "password": PASSWORD}
        return "pgsql:" + ";".join(f"{name}={value}" for name, value in {**fields, **more}.items())

    def _prepare(self) -> list[str]:
        _give(self.folder, "postgres")
        data, words = self.folder / "data", _as_other("postgres")
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        subprocess.run(
            [*words, find_program("initdb"), "-D", data, "-U", "mx", "-A", "scram-sha-256",
             f"--pwfile={password}", "-N", "--no-locale", "-E", "UTF8"],
            check=True, capture_output=True, cwd=self.folder,
        )  # fmt: skip
        return [
            *words, find_program(self.program), "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1",
            "-k", str(self.folder),
            "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40",
        ]  # fmt: skip

    def _is_ready(self) -> bool:
        return (
            accepts_connections("127.0.0.1", self.port)
            and self.sql("select 1", "postgres", check=False) == 0
            and (self.sql("create database mail", "postgres", check=False) in {0, 1})
        )

    def sql(self, text: str, database: str = "mail", *, check: bool = True) -> int:
        """Run statements with psql."""
        done = subprocess.run(
            [find_program("psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
             "-U", "mx", "-d", database, "-c", text],
            env={"PGPASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"}, check=check, capture_output=True,
        )  # fmt: skip
        return done.returncode


class MariaDb(Server):
    """MariaDB with the user `mx` and the database `mail`."""

    program = "mariadbd"

    def uri(self, **more: str) -> str:
        """Return the URI of a datasource."""
        fields = {"host": "127.0.0.1", "port": str(self.port), "dbname": "mail", "user": "mx", "password": PASSWORD}
        return "mysql:" + ";".join(f"{name}={value}" for name, value in {**fields, **more}.items())

    @property
    def _socket(self) -> Path:
        return self.folder / "mysqld.sock"

    def _prepare(self) -> list[str]:
        data, me = self.folder / "data", pwd.getpwuid(os.geteuid()).pw_name
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={me}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True,
        )  # fmt: skip
        setup = self.folder / "setup.sql"
        setup.write_text(
            f"create database mail;\ncreate user mx@'127.0.0.1' identified by '{PASSWORD}';\n"
            "grant all on mail.* to mx@'127.0.0.1';\n"
        )
        return [
            find_program("mariadbd"), "--no-defaults", f"--datadir={data}", f"--user={me}", "--bind-address=127.0.0.1",
            f"--port={self.port}", f"--socket={self._socket}", f"--init-file={setup}", "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=16M", "--skip-name-resolve", f"--pid-file={self.folder / 'pid'}",
        ]  # fmt: skip

    def _is_ready(self) -> bool:
        return (
            accepts_connections("127.0.0.1", self.port) and self._ran("show grants for mx@'127.0.0.1'").returncode == 0
        )

    def sql(self, text: str) -> str:
        """Run statements, and return what they print."""
        done = self._ran(text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _ran(self, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["mariadb", "--no-defaults", f"--socket={self._socket}", "-u", "root", "-N", "-B", "mail", "-e", text],
            check=False, capture_output=True, text=True,
        )  # fmt: skip


_ENTRIES = """\
dn: dc=example,dc=com
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

"""


class Slapd(Server):
    """OpenLDAP with `dc=example,dc=com`, whose people have a mail address, two numbers, and a password."""

    program = "slapd"
    base = "ou=people,dc=example,dc=com"

    def uri(self, behind: str = "") -> str:
        """Return the URI of a datasource."""
        return f"ldap://127.0.0.1:{self.port}/{self.base}{behind}"

    def _prepare(self) -> list[str]:
        (self.folder / "db").mkdir()
        config = self.folder / "slapd.conf"
        schemas = "\n".join(f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "inetorgperson"))
        config.write_text(
            f"{schemas}\npidfile {self.folder}/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n"
            "sizelimit 5000\ndatabase mdb\nmaxsize 104857600\nsuffix dc=example,dc=com\n"
            f"rootdn cn=admin,dc=example,dc=com\nrootpw {PASSWORD}\ndirectory {self.folder}/db\n"
        )
        people = [
            f"dn: uid={name},{self.base}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
            f"mail: {name}@example.com\ntelephoneNumber: 1\ntelephoneNumber: 2\nuserPassword: {name}-secret\n"
            for name in ("joe", "ann", *(f"user{number}" for number in range(300)))
        ]
        data = self.folder / "data.ldif"
        data.write_text(_ENTRIES + "\n".join(people))
        tool = shutil.which("slapadd") or "/usr/sbin/slapadd"
        subprocess.run([tool, "-q", "-f", config, "-l", data], check=True, capture_output=True)
        return [find_program("slapd"), "-f", str(config), "-h", f"ldap://127.0.0.1:{self.port}", "-d", "0"]


class Silent:
    """A server that accepts connections and says nothing."""

    def __init__(self) -> None:
        """Listen; the kernel accepts."""
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self._socket.getsockname()[1]

    def close(self) -> None:
        """Stop."""
        self._socket.close()
