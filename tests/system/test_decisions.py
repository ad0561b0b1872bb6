"""The table of decisions, row by row: a verifier made from configuration text, real DNS, scripted exchangers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from proxy.callback import probe
from proxy.callback.verdict import CallbackVerdict
from proxy.dns import resolver as dns
from tests.support.callbacks import asking
from tests.support.decisions import DEFAULT_NAMES, HOSTS, WHOLE_HOST, Decision, ScriptedExchanger, read, zone_of
from tests.support.mute import mute
from tests.support.nameserver import ScriptedNameserver
from tests.support.programs import free_port
from tests.support.servers import Dnsmasq
from tests.support.waiting import eventually

TABLE = read(Path(__file__).parents[1] / "spec/callback/decisions.txt")

EVERY_VERDICT = {
    *(f"pass {reason}" for reason in ("accepted", "catchall")),
    *(f"fail {reason}" for reason in ("no_such_user", "disabled", "mail_refused", "no_smtputf8")),
    *(f"fail {reason}" for reason in ("nxdomain", "null_mx", "no_address", "unroutable")),
    *(
        f"transient {reason}"
        for reason in (
            "connect",
            "timeout",
            "busy",
            "dns",
            "breaker",
            "throttled",
            "client_throttled",
            "storm",
            "pending",
        )
    ),
    *(f"transient {reason}" for reason in ("greylist", "mailbox_full", "rate", "deferred")),
    *(
        f"error {reason}"
        for reason in ("refused_us", "mail_refused", "tls_required", "policy", "protocol", "null_sender")
    ),
    *(f"error {reason}" for reason in ("loop", "unroutable", "route", "no_probe", "syntax")),
}
"""Those that the verifier can give, but for `internal`: no stranger can bring that about."""

FLAGS = ("catchall", "null_refused", "tls")


@pytest.fixture(scope="module")
def ordinary_names() -> Iterator[Dnsmasq]:
    """One dnsmasq with all names of the rows in which DNS does not fail."""
    ordinary = [line for row in TABLE if not row.needs_faults for line in row.names]
    with Dnsmasq(zone_of([*DEFAULT_NAMES, *dict.fromkeys(ordinary)])) as server:
        yield server


def test_every_event_stands_once_and_every_verdict_somewhere() -> None:
    events = [row.event for row in TABLE]
    assert sorted(events) == sorted(set(events))
    assert {" ".join(row.verdict) for row in TABLE} == EVERY_VERDICT


@pytest.mark.real("dnsmasq")
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.id)
async def test_the_verdict_is_the_tables(
    row: Decision, ordinary_names: Dnsmasq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if row.is_slow:
        monkeypatch.setattr(probe, "CONNECT_SECONDS", 1.0)
        monkeypatch.setattr(probe, "REPLY_SECONDS", 1.0)
        monkeypatch.setattr(dns, "_TRY_SECONDS", 0.3)
        monkeypatch.setattr(dns, "QUERY_SECONDS", 1.0)
    async with AsyncExitStack() as stack:
        port = free_port(*(each for each in HOSTS.values() if each != "::1"))
        exchangers = await put_up(row, port, stack)
        nameserver = ordinary_names.address
        if row.needs_faults:
            scripted = await stack.enter_async_context(ScriptedNameserver([*DEFAULT_NAMES, *row.names]))
            nameserver = scripted.address
        callbacks = await stack.enter_async_context(
            asking(
                tmp_path,
                port=port,
                nameserver=nameserver,
                options=row.options,
                listener=f"{HOSTS['us']}:{port}",
                allowed="127.0.1.0/24, ::1/128",
            )
        )
        for address in row.before:
            await callbacks.verifier.verify(address, client=row.client)
        verdict = await callbacks.verifier.verify(row.address, client=row.client)
        assert (verdict.status.value, verdict.reason) == row.verdict, verdict
        assert found_by(verdict) == row.flags
        for host, commands in row.heard.items():
            await eventually(lambda host=host: not exchangers[host].open_dialogues, "it has heard everything")
            assert exchangers[host].commands == commands
            assert bool(exchangers[host].dialogues) == bool(commands)
        assert [each.faults for each in exchangers.values() if each.faults] == []


async def put_up(row: Decision, port: int, stack: AsyncExitStack) -> dict[str, ScriptedExchanger]:
    """Start the exchangers of a row, all on the same port, as on the Internet."""
    running: dict[str, ScriptedExchanger] = {}
    for host, acts in row.acts.items():
        if acts == ["drops"]:
            stack.enter_context(mute(HOSTS[host], port))
        elif not WHOLE_HOST.intersection(acts):
            running[host] = await stack.enter_async_context(ScriptedExchanger(HOSTS[host], port, acts))
    return running


def found_by(verdict: CallbackVerdict) -> frozenset[str]:
    """Return the flags of a verdict that are set."""
    fields = dataclasses.asdict(verdict)
    return frozenset(name for name in FLAGS if fields[name])
