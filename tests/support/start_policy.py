"""The policy that ships, with numbers that no test or benchmark of its cost reaches."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.warm import ROOT

_LIMITS = re.compile(r'"(?:10|20|60|100|200|300)"(?= \{|;)')


def stanzas() -> str:
    """Return the stanzas, with a greylist that soon passes."""
    text = (ROOT / "etc/start_policy.conf").read_text()
    text = text.replace('smtp_cbv "callback"', 'smtp_cbv "smtp_cbv"')
    return re.sub(r"delay = 60", "delay = 0.01", text)


def write_scripts(folder: Path) -> None:
    """Write the scripts beside the configuration, without limits."""
    (folder / "scripts").mkdir()
    for each in (ROOT / "etc/scripts").glob("start_*.siv"):
        (folder / "scripts" / each.name).write_text(_LIMITS.sub('"100000000"', each.read_text()))
