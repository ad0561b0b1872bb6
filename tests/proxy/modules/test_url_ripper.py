"""ec_url_ripper: what the zone of a passive url_ripper lists of a message, by context variable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from config.diagnostics import Source
from config.loader import load
from proxy.app import SCHEMA, library, prepare
from proxy.modules.services import Background, Services
from proxy.modules.sieve_policy.host import SessionHost
from sieve.compile.compiler import compile_script
from sieve.host import Host
from sieve.phases import Phase
from sieve.settings import ScriptSettings
from tests.support.lookups import Zonefile, has_message, stranger, working

STANZA = """\
ESMTP_Listener = ( 127.0.0.1:0 )
Gateway = "192.0.2.25"
url_ripper {
  base = "bl.test"
  bits = [ 0.0.0.2 = "spam" 0.0.0.4 = "phish" ]
  values = [ 127.0.0.9 = "exact" ]
  forward = false
  PASSIVE
}
"""
MAIL = (
    b"From: <a@from.example>\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n"
    b'<a href="http://one.example/x">go</a> http://two.example/ http://clean.example/\r\n'
)
LISTED = {
    ("one.example.bl.test", "A"): ["127.0.0.2"],
    ("two.example.bl.test", "A"): ["127.0.0.6"],
    ("from.example.bl.test", "A"): ["127.0.0.9"],
}
SCRIPT = """\
$found = ec_url_ripper;
$keys = hash_keys $found;
$names = join "," $keys;
$spam = hash_get $found "spam";
$all = join "," $spam;
$count = vctx_mess_get "spam";
ec_action 550 "${names} ${all} ${count}";
"""


async def answered(folder: Path, records: Mapping[Any, Any], mail: bytes = MAIL) -> str:
    file = folder / "ecelerity.conf"
    file.write_text(STANZA.replace("PASSIVE", "enabled = false"))
    loaded = load(file, SCHEMA)
    assert loaded.settings is not None
    (prepared,) = prepare(loaded.settings)
    names = Zonefile({**working("bl.test"), **records})
    services = Services(cast(Any, loaded.settings.core), loaded.settings, cast(Any, names), background=Background())
    assert prepared.validator(services) is None
    session = has_message(stranger("bob@example.com"), mail)
    text = compiled()
    outcome = await text.run(cast(Host, SessionHost(session, services, Phase.DATA)))
    await services.background.close()
    assert session.transaction.message is not None
    session.transaction.message.close()
    return outcome.text


def compiled(modules: frozenset[str] = frozenset({"url_ripper"})) -> Any:
    found = compile_script(
        Source("x.siv", SCRIPT), phase=Phase.DATA, library=library(), modules=modules, settings=ScriptSettings()
    )
    assert not found.diagnostics, found.diagnostics
    return found.script


async def test_what_is_listed_is_in_the_hash_and_in_the_variables(tmp_path: Path) -> None:
    assert await answered(tmp_path, LISTED) == "exact,spam,phish one.example,two.example 2"


async def test_without_a_listing_the_hash_is_empty(tmp_path: Path) -> None:
    assert await answered(tmp_path, {}) == "  "


def test_without_the_module_the_script_is_refused() -> None:
    with pytest.raises(AssertionError, match="ec_url_ripper needs the module url_ripper"):
        compiled(frozenset())
