"""The benches, as far as a busy machine can tell: they load, and what few others run works."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bench import authentication
from proxy.modules.services import Background

BENCHES = sorted(path.stem for path in Path(authentication.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_can_be_loaded(name: str) -> None:
    importlib.import_module(f"bench.{name}")


@pytest.mark.parametrize("row", authentication.rows()[:-1], ids=lambda row: row.name)
async def test_the_messages_of_the_bench_of_senders_pass_the_checks(row: authentication.Row) -> None:
    background = Background()
    validators = authentication.validators_of(row.modules, 0, background)
    await authentication.checked(authentication.PhasePipeline(validators), validators, row.content)
    await background.close()
