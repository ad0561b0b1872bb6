"""The version of this checkout. `pyproject.toml` asks for it, and the scripts beside this file do.

A release is a commit with a tag such as v1.2.3. An sdist does not need this: its PKG-INFO has the version.
"""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

VARIABLE = "RINGBACK_VERSION"
"""Names the version if there is no git, as in the build of the image."""

UNKNOWN = "0.0.0"

_TAGGED = re.compile(r"v(?P<version>.+)-(?P<commits>\d+)-(?P<commit>g[0-9a-f]+)")


def version() -> str:
    """Return 1.2.3 for a tagged commit, 1.2.3+5.gabcdef0 five commits later, and 0.0.0+gabcdef0 without a tag."""
    if named := os.environ.get(VARIABLE):
        return named
    if _git("rev-parse", "--show-toplevel") != str(ROOT):  # no git, or the repository of someone who unpacked us
        return UNKNOWN
    found = _TAGGED.fullmatch(_git("describe", "--tags", "--long", "--match", "v[0-9]*"))
    if found is None:
        return f"{UNKNOWN}+g{_git('rev-parse', '--short', 'HEAD')}"
    return found["version"] if found["commits"] == "0" else f"{found['version']}+{found['commits']}.{found['commit']}"


def _git(*arguments: str) -> str:
    """Return what git prints; nothing if it fails or is missing."""
    try:
        ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ended.stdout.strip()


if __name__ == "__main__":
    print(version())
