"""The command line, `ringback`.

Commands parse, call, print and choose the exit code; other packages do the work. Exit codes follow sysexits(3).
"""

from __future__ import annotations

from config.base.facade import lazily

__getattr__ = lazily("proxy.cli", {"__main__": ("application", "main")})
