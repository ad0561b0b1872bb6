"""How long a configuration takes to load, by its size: `python bench/config_load.py`.

Ordinary text (a Domain scope of five lines, again and again) of 10,000 lines up to one MiB, then a MiB that is
not a configuration.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config.loader import load
from config.schema.options import Options, option
from config.schema.specs import Schema
from config.schema.values import Endpoint

HOSTILE = {"[": "[", "a = (": "a = (", "a {": "a {", "a=b": "a=b\n", "quotes": '"\n', "zeros": "\0"}


class Core(Options):
    gateway: Endpoint | None = option(None, doc="Where mail goes.")
    remote_smtp_port: int = option(25, doc="Its port.")


def ordinary(scopes: int) -> str:
    return "".join(
        f'Domain "d{n}.example.com" {{\n  Gateway = "10.0.{n % 256}.1"\n  Remote_SMTP_Port = 2525\n  # number {n}\n}}\n'
        for n in range(scopes)
    )


def measure(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "main.conf"
        path.write_text(text, encoding="utf-8")
        started = time.perf_counter()
        loaded = load(path, Schema(core=Core))
        seconds = time.perf_counter() - started
    errors = sum(found.is_error for found in loaded.diagnostics)
    print(f"{name:>12} {len(text):>9} bytes {text.count(chr(10)):>7} lines {seconds:6.2f} s {errors:>4} errors")


def main() -> None:
    for scopes in (2000, 4000, 8000, 10500):
        measure("ordinary", ordinary(scopes))
    for name, piece in HOSTILE.items():
        measure(name, piece * ((1 << 20) // len(piece)))


if __name__ == "__main__":
    main()
