"""The roles of visitors, and every path of the page: which role it needs, and which link leads to it.

Routes, links and tests read the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What a visitor may see. Each role includes the ones before it."""

    READ = 1
    """Numbers, without anything about persons."""
    READ_MAIL = 2
    """Also addresses, dialogues and reasons."""
    OPERATE = 3
    """Also end sessions, and drain next hops."""

    @property
    def word(self) -> str:
        """As options and commands write it."""
        return self.name.lower()

    @classmethod
    def called(cls, word: str) -> Role | None:
        """Return the role with a name."""
        return cls.__members__.get(word.upper())


@dataclass(frozen=True, slots=True)
class Path:
    """One path."""

    role: Role | None
    """The least role that may see it; None: no login is needed."""
    link: str = ""
    """The words of its link at the top of each page; empty: there is no link."""
    above: str = ""
    """The path whose link is marked while a page without a link is shown."""


PATHS: Mapping[str, Path] = {
    "/": Path(Role.READ),
    "/now": Path(Role.READ, "Now"),
    "/live": Path(Role.READ_MAIL, "Live"),
    "/why": Path(Role.READ_MAIL, "Why"),
    "/session/{id}": Path(Role.READ_MAIL, above="/why"),
    "/running/{id}": Path(Role.READ_MAIL, above="/live"),
    "/stream/now": Path(Role.READ),
    "/stream/live": Path(Role.READ_MAIL),
    "/operate": Path(Role.OPERATE),
    "/login": Path(None),
    "/login/{secret}": Path(None),
    "/logout": Path(None),
    "/static/{name}": Path(None),
}

PUBLIC = frozenset([path.split("/")[1] for path, each in PATHS.items() if each.role is None])
"""The first parts of paths that need no login."""


def links_for(role: Role, shown: str) -> list[tuple[str, str, bool]]:
    """Return the links for a role: path, words, and whether the page shown, named as in the table, belongs to it."""
    at = PATHS[shown].above or shown if shown in PATHS else ""
    return [
        (path, each.link, path == at) for path, each in PATHS.items() if each.link and each.role and role >= each.role
    ]
