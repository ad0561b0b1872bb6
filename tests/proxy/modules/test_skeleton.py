"""The skeleton is a complete module: a copy under another name binds options, judges, and answers scripts."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.schema.specs import Schema
from config.tools.reference import reference
from proxy import app, modules
from proxy.modules import skeleton
from sieve.reference import markdown
from tests.support.exchanger import Exchanger
from tests.support.worker import SENDER_OK, Configuration, client_of, transaction

SCRIPT = """\
$name = callsign_name;
if ec_test :contains "${name}" "bad" { ec_action 550 "5.7.1 You are ${name}"; }
"""


@pytest.fixture(autouse=True)
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copy the folder under the name `callsign`, and add one line to the list in `app`."""
    copy = tmp_path / "modules" / "callsign"
    shutil.copytree(Path(skeleton.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.glob("*.py"):
        text = path.read_text()
        for old, new in (("skeleton", "callsign"), ("Skeleton", "Callsign"), ("SKELETON", "CALLSIGN")):
            text = text.replace(old, new)
        path.write_text(text)
    monkeypatch.setattr(modules, "__path__", [*modules.__path__, str(copy.parent)])
    made = importlib.import_module("proxy.modules.callsign.module").CALLSIGN
    monkeypatch.setattr(app, "MODULES", (made, *app.MODULES))
    monkeypatch.setattr(app, "SCHEMA", Schema(app.SCHEMA.core, tuple(each.spec for each in app.MODULES)))
    yield
    for name in [each for each in sys.modules if each.startswith("proxy.modules.callsign")]:
        del sys.modules[name]


def house(folder: Path, upstream: int, *options: str) -> Configuration:
    made = Configuration(folder, upstream)
    made.lines += ['callsign "names" {', '  names = ( "*.bad.test" )', *(f"  {each}" for each in options), "}"]
    return made


async def test_its_option_is_bound_and_its_hook_refuses_a_client(tmp_path: Path) -> None:
    async with Exchanger() as upstream, client_of(house(tmp_path, upstream.port)) as client:
        assert await transaction(client) != []
        assert await client.ask("EHLO mx.bad.test") == "550 5.7.1 Your host name is not welcome here"


async def test_its_script_function_is_called(tmp_path: Path) -> None:
    given = house(tmp_path, 1, 'action = "accept"').scripts(mailfrom_phase1=SCRIPT)
    async with client_of(given) as client:
        assert (await transaction(client))[0] == SENDER_OK
        await client.ehlo("mx.bad.test")
        assert (await transaction(client))[0] == "550 5.7.1 You are mx.bad.test"


def test_its_script_function_needs_the_module(tmp_path: Path) -> None:
    with pytest.raises(app.ConfigurationRejected) as rejected:
        app.load(Configuration(tmp_path, 1).scripts(mailfrom_phase1=SCRIPT).write())
    assert "callsign" in rejected.value.diagnostics[0].message


def test_the_reference_pages_show_its_options_and_functions() -> None:
    assert "`names`" in reference(app.SCHEMA)
    assert "callsign_name" in markdown(app.library())
