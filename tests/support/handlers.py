"""Writes a site's aiosmtpd handler, and a configuration that loads it."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from textwrap import dedent

from tests.support.worker import Configuration

_numbers = itertools.count()


def handler(folder: Path, methods: str, *, before: str = "", base: str = "") -> str:
    """Write a module with the class `Site`, and return `module:Site`. Each module has a name of its own."""
    place = folder / "python"
    place.mkdir(exist_ok=True, mode=0o755)
    name = f"site_{os.getpid()}_{next(_numbers)}"
    body = "\n".join(f"    {line}" for line in dedent(methods).strip().splitlines()) or "    pass"
    file = place / f"{name}.py"
    file.write_text(f"{dedent(before)}\nclass Site{f'({base})' if base else ''}:\n{body}\n")
    file.chmod(0o644)  # whatever the umask is
    return f"{name}:Site"


def loading(folder: Path, upstream: int, named: str, *options: str, path: str | None = "python") -> Configuration:
    """Return a configuration with a `python` stanza."""
    made = Configuration(folder, upstream)
    made.lines += ['python "site" {', f'  handler = "{named}"']
    if path is not None:
        made.lines.append(f'  path = "{path}"')
    made.lines += [*(f"  {option}" for option in options), "}"]
    return made


def with_handler(folder: Path, upstream: int, methods: str, *options: str, before: str = "") -> Configuration:
    """Write a handler, and return a configuration that loads it."""
    return loading(folder, upstream, handler(folder, methods, before=before), *options)
