"""Every case of the files beside this one."""

from __future__ import annotations

import pytest

from tests.spec.sieve.cases import Case, compiled, host_of, read_cases, shown


@pytest.mark.parametrize("case", read_cases(), ids=str)
async def test_a_script_does_what_its_case_says(case: Case) -> None:
    script, diagnostics = compiled(case)
    assert diagnostics.rstrip("\n") == case.parts.get("diagnostics", "").rstrip("\n")
    if script is not None and "outcome" in case.parts:
        host = host_of(case)
        outcome = await script.run(host)
        await host.all_lists.close()
        wanted = case.parts["outcome"].rstrip("\n")
        assert shown(outcome, host, wanted) == wanted
