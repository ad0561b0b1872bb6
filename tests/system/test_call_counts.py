"""The function calls of a message have a limit, on any machine: all threads, builtins included, caches warm.

`shared`: the worker has neighbours, and their keeper counts connections, messages and recipients of each client.
`policy`: the same, with the policy that ships.

`python -m bench.calls` shows which they are. The figure repeats to a call or two.
"""

from __future__ import annotations

import pytest

from tests.support import calls


@pytest.mark.parametrize(
    ("mode", "most"), [("kept", 450), ("new", 700), ("kept-shared", 600), ("new-shared", 1000), ("kept-policy", 1020)]
)
def test_a_message_costs_at_most_so_many_function_calls(mode: str, most: int) -> None:
    found = calls.run(mode)

    assert found.messages == calls.MESSAGES // 2
    assert found.per_message <= most
