"""`ringback sieve run` asks lists: what a script defines, in tables of its own, and what operators have added."""

from __future__ import annotations

import json
import time
from pathlib import Path

from proxy.lists.entries import ENCODE, NEVER, Entry
from tests.support.ringback import ended

SCRIPT = """\
define_cidr "bad" "db" "select net from l";
if check_cidr "bad" { ec_log "bad"; }
$why = ec_list_reason "vip";
ec_log "${why}";
if ec_valid_binding "slow" { ec_log "slow"; }
"""


def test_lists_and_bindings_in_a_trial(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "lists.json").write_bytes(ENCODE([Entry("vip", "192.0.2.3/32", NEVER, "a friend", "bob", time.time())]))
    configuration, script = tmp_path / "ecelerity.conf", tmp_path / "x.siv"
    configuration.write_text(
        f'ESMTP_Listener = ( 127.0.0.1:0 )\nGateway = "192.0.2.25"\nState_Directory = "{state}"\n'
        f'Client_Lists = ( "vip" )\nDatasource "db" {{ uri = ( "sqlite:{tmp_path}/none.db" ) }}\n'
        'Binding "slow" { Gateway = "192.0.2.26" }\n'
    )
    script.write_text(SCRIPT)
    status, printed, _ = ended(
        "sieve", "run", "--phase", "mailfrom", "--from", "a@b.test", "--rcpt", "c@example.com", "--client-ip",
        "192.0.2.3", "-c", configuration, "--json", script,
    )  # fmt: skip
    log = json.loads(printed)["log"]
    assert status == 0
    assert log[:2] == ["a friend", "slow"]
    assert log[2].startswith("(list bad: ")
    assert [each.name for each in state.iterdir()] == ["lists.json"]
