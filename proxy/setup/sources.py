"""Tells a Postfix main.cf from an Exim configuration, and reads it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from proxy.setup.answers import Found
from proxy.setup.exim import read_exim
from proxy.setup.postfix import read_main_cf
from proxy.setup.tables import Absent, read_text

_USUAL = ("main.cf", "exim4.conf", "exim.conf", "configure", "update-exim4.conf.conf")
_EXIM = re.compile(
    r"^\s*(?:begin\s+(?:acl|routers|transports|retry|rewrite|authenticators)|(?:domain|host)list\b|dc_\w+=)",
    re.MULTILINE,
)
_DEBIANS_TEMPLATE = re.compile(r"=\s*DEBCONF\w+DEBCONF")
_POSTFIX = re.compile(r"^[a-z0-9_]+\s*=", re.MULTILINE)


def read_found(path: Path, own_name: str) -> Found:
    """Return what a server's file says. In a folder, the first of its usual names is read.

    Raises:
        Absent: the file cannot be read, or is neither.
    """
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir fails if the name is too long
        path = next((path / name for name in _USUAL if (path / name).exists()), path / _USUAL[0])
    text = read_text(path)
    if _DEBIANS_TEMPLATE.search(text):
        raise Absent(f"{path} is Debian's template: name /etc/exim4/update-exim4.conf.conf instead")
    if _EXIM.search(text):
        return read_exim(path, own_name)
    if not _POSTFIX.search(text):
        raise Absent(f"{path} is neither a Postfix main.cf nor an Exim configuration")
    return read_main_cf(path, own_name)
