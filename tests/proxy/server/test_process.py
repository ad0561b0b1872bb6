"""A process of the service, in a process of its own: signals, interpreter and loop are the process's."""

from __future__ import annotations

import subprocess
import sys

from tests.support.ringback import ROOT

LIVING = """
import sys
from types import SimpleNamespace
from proxy.server import process
from tests.support.worker import core

async def work():
    print(sys.getswitchinterval())

nothing = lambda *_, **__: None
process.open_log = process.told_to_history = nothing
block, pulse = SimpleNamespace(begin=nothing), SimpleNamespace(beat_along=nothing)
sys.exit(process.live(work, core(), SimpleNamespace(block=block, pulse=pulse, rows=None)))
"""


def test_a_thread_that_calculates_keeps_the_loop_waiting_for_a_millisecond() -> None:
    done = subprocess.run([sys.executable, "-c", LIVING], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "0.001\n"), done.stderr
