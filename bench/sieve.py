"""What scripts cost: the customer's with a cached verdict, a policy of 100 lines, and compiling 1,000 lines."""

from __future__ import annotations

import statistics
import time

import uvloop

from config.diagnostics import Source
from sieve.compile.compiler import compile_script
from sieve.phases import Phase
from sieve.run.runtime import Script
from sieve.standard import standard_library
from tests.sieve.plain_host import PlainHost, PlainMessage

CUSTOMER = """$from = envelope "from";
($rv) = smtp_callback_verify "${from}";
if ec_test :is "${rv}" "fail" {
  ec_action 550 "from address not reachable";
}
"""

TEST = """# rule {0}
if header :{1} "{2}" {3} {{
  ec_log "rule {0}";
  ec_action 550 "5.7.1 refused by rule {0}";
}}
"""
KINDS = [
    ("contains", "subject", '["offer", "winner"]'),
    ("matches", "from", '"*@spam.example"'),
    ("regex", "subject", '"^(re|fwd): .*free"'),
    ('is :comparator "i;ascii-casemap"', "x-spam-status", '"yes"'),
]
POLICY = "".join(TEST.format(number, *KINDS[number % 4]) for number in range(20))
MESSAGE = "".join(f"X-Header-{number}: value {number}\n" for number in range(15)) + (
    "From: someone@example.org\nSubject: an ordinary subject\nX-Spam-Status: No\n\nbody\n"
)


class CachedHost(PlainHost):
    """Answers like the server with a warm cache, and keeps no record."""

    def count(self, counter: str, code: int) -> None: ...

    async def callback(self, _address: str, _sender: str | None) -> object:
        return ANSWER


class Fields:
    """A parsed header section."""

    def __init__(self, text: str) -> None:
        self.known: dict[str, list[str]] = {}
        for name, body in PlainMessage(text).fields():
            self.known.setdefault(name.lower(), []).append(body)

    def header(self, name: str) -> list[str]:
        return self.known.get(name.lower(), [])


def compiled(text: str, phase: Phase) -> Script:
    found = compile_script(
        Source("bench.siv", text), phase=phase, library=standard_library(), modules=frozenset({"smtp_cbv"})
    )
    assert found.script is not None, found.diagnostics
    return found.script


async def cost(script: Script, host: PlainHost, rounds: int) -> float:
    """Return the median cost of a run in microseconds, of 7 series."""
    series = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(rounds):
            await script.run(host)
        series.append((time.perf_counter() - began) / rounds * 1e6)
    return statistics.median(series)


async def main() -> None:
    customer = compiled(CUSTOMER, Phase.MAILFROM)
    policy = compiled(POLICY, Phase.DATA)
    host = CachedHost()
    passing = CachedHost(message=Fields(MESSAGE))
    print(f"customer's script, cached fail verdict: {await cost(customer, host, 5000):.1f} us")
    print(f"100 lines, 20 header tests:             {await cost(policy, passing, 2000):.1f} us")
    text = POLICY * 10
    began = time.perf_counter()
    compiled(text.replace("refused", "refused once more"), Phase.DATA)
    print(f"compiling {len(text.splitlines())} lines:                   {(time.perf_counter() - began) * 1e3:.0f} ms")


if __name__ == "__main__":
    from sieve.host import CallbackAnswer

    ANSWER = CallbackAnswer("fail", "550 5.1.1 No such user")
    standard_library()
    uvloop.run(main())
