"""The journal's sink and form before the real systemd-journald, which runs in a mount namespace of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.events.forms import message_id

JOURNALD = Path("/lib/systemd/systemd-journald")

RUN = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
printf '[Journal]\\nReadKMsg=no\\nAudit=no\\nForwardToSyslog=no\\nStorage=volatile\\n' >/run/journald.conf
mount --bind /run/journald.conf /etc/systemd/journald.conf
[ -s /etc/machine-id ]
"$1" >&2 &
journald=$!
trap 'kill $journald' EXIT
for _ in $(seq 100); do [ -S /run/systemd/journal/socket ] && break; sleep 0.1; done
"$2" -c "$3" <"$4"
journalctl --sync >&2 || true
journalctl -D /run/log/journal -o json --all SYSLOG_IDENTIFIER=ringback
"""
SEND = """
import sys
from proxy.base.journal import JournalSink
from proxy.events.forms import journal
sys.exit(JournalSink(journal).write(sys.stdin.buffer.readlines()))
"""
LARGE = 1_500_000
EVENTS: list[dict[str, Any]] = [
    {"event": "recipient", "level": "info", "sender": "a@sender.test", "recipient": "b@example.com", "tls": "",
     "disposition": "refused", "decided_by": "relay_domains", "code": 550, "reply": "550 5.7.1 Relaying denied"},
    {"event": "refused", "level": "warning", "command": "MAIL", "argument": "\x1b[31m\u202e=\nPRIORITY=0"},
    {"event": "worker_failed", "level": "error", "stack": "one\ntwo", "reason": "x" * LARGE},
]  # fmt: skip


def _may_run() -> bool:
    return (
        JOURNALD.exists()
        and shutil.which("journalctl") is not None
        and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not _may_run(), reason="needs systemd-journald and the right to mount")
def test_the_real_journal_has_each_entry_with_its_fields_also_a_large_one(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    stamp = {"timestamp": "2026-11-30T12:00:00.000000Z"}
    lines.write_text("".join(f"{json.dumps(stamp | each)}\n" for each in EVENTS))
    arguments = [str(JOURNALD), sys.executable, SEND, str(lines)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", RUN, "-", *arguments],
        capture_output=True, text=True, check=False, timeout=60, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    recipient, hostile, large = map(json.loads, done.stdout.splitlines())
    assert (recipient["PRIORITY"], recipient["MESSAGE_ID"]) == ("6", message_id("recipient"))
    assert recipient["_TRANSPORT"] == "journal"
    assert "Relaying denied" in recipient["MESSAGE"]
    assert (recipient["RINGBACK_CODE"], recipient["RINGBACK_DECIDED_BY"]) == ("550", "relay_domains")
    assert "RINGBACK_TLS" not in recipient
    assert (hostile["PRIORITY"], hostile["RINGBACK_ARGUMENT"]) == ("4", r"\x1b[31m\u202e=\nPRIORITY=0")
    assert (large["PRIORITY"], large["RINGBACK_STACK"], len(large["RINGBACK_REASON"])) == ("3", "one\ntwo", LARGE)
