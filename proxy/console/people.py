"""Who uses the console's socket, and what they may do.

The kernel identifies the user: SO_PEERCRED and SO_PEERGROUPS. Without an `Authorization` stanza, root and the service's
user may do everything, and the socket's group may read and operate. With it, only its patterns decide.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from proxy.options.console import RoleRules

_SO_PEERGROUPS = 59  # socket(7), Linux 4.13; Python has no name for it
_MOST_GROUPS = 65536


class Role(IntEnum):
    """What a command needs, and what a person has."""

    READ = 0
    OPERATE = 1
    ADMIN = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """Ask the kernel.

        Raises:
            OSError: it does not say.
        """
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, gid = struct.unpack("3i", credentials)
        groups = {gid}
        with suppress(OSError):
            octets = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUPS)
            groups |= set(struct.unpack(f"{len(octets) // 4}I", octets))
        return cls(pid, uid, frozenset(groups))

    @property
    def name(self) -> str:
        """The user's name, or the number if it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid {self.uid}"


@dataclass(frozen=True, slots=True)
class Person:
    """A person who may use the console."""

    name: str
    role: Role
    rules: tuple[RoleRules, ...] | None = None
    """Those that apply, if there is an Authorization stanza."""

    @property
    def may_administer(self) -> bool:
        """Whether they may do what needs the rights of the service itself."""
        return self.role >= Role.ADMIN

    def may(self, line: str, needed: Role) -> bool:
        """Whether they may use a command, which is written in full words."""
        if self.rules is not None:
            return any(each.allows(line) for each in self.rules)
        return self.role >= needed


@dataclass(frozen=True, slots=True)
class Doorman:
    """Decides who may connect."""

    rules: tuple[RoleRules, ...] = ()
    group_files: tuple[str, ...] = ()
    owner: int = -1
    """The service's user."""
    group: int = -1
    """The socket's group."""

    @classmethod
    def ours(cls, rules: Sequence[RoleRules], group_files: Sequence[str]) -> Doorman:
        """For this process's user and group."""
        return cls(tuple(rules), tuple(group_files), os.geteuid(), os.getegid())

    def person(self, peer: Peer) -> Person | None:
        """Return who they are here; None if they may not connect."""
        is_owner = peer.uid in {0, self.owner}
        if not is_owner and self.group not in peer.groups:
            return None
        role = Role.ADMIN if is_owner else Role.OPERATE
        if not self.rules:
            return Person(peer.name, role)
        names = {peer.name, *_system_groups(peer.groups), *self._file_groups(peer.name)}
        return Person(peer.name, role, tuple(each for each in self.rules if each.name in names))

    def _file_groups(self, user: str) -> set[str]:
        """Return the user's roles by the files of `group:user,user` or `group:x:user,user`."""
        found = set()
        for path in self.group_files:
            with suppress(OSError, UnicodeDecodeError):
                for line in Path(path).read_text("utf-8").splitlines():
                    group, _, users = line.partition(":")
                    if user in [each.strip() for each in users.rpartition(":")[2].split(",")]:
                        found.add(group.strip())
        return found


def _system_groups(groups: frozenset[int]) -> set[str]:
    """Return the names of the system's groups as a stanza writes them. A user and a group may have the same name."""
    found = set()
    for each in groups:
        with suppress(KeyError):
            found.add(f"@{grp.getgrgid(each).gr_name}")
    return found
