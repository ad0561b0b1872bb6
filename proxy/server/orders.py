"""What a supervisor and its workers send each other (single bytes over one socket), and the signals they share."""

from __future__ import annotations

import signal

LISTENING = b"l"
"""Sent by the worker when it serves."""

DRAIN, SUCCEEDED, CUT = b"d", b"s", b"c"
"""Orders: take no more clients and finish; the same after a reload; cut the remaining sessions."""

REOPEN = b"o"
"""The order to open the log's file again. It may come at any time, and more than once."""

EX_SOFTWARE = 70
"""The exit status of a worker that failed (sysexits(3))."""

SUPERVISORS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)

RESERVED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""Ignored until a process has its handlers. SIGUSR1 reopens the log; SIGUSR2 asks a worker for its stack."""
