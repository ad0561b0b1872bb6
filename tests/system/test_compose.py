"""docker-compose.yml: it stays whole whatever service is removed, and each profile works with the files it mounts.

No container engine is needed: what each container would run is run as a process on loopback (tests/support/compose.py).
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from tests.support.compose import (
    COMPOSE,
    DOCKER,
    ComposedPostfix,
    ComposedPrometheus,
    Shipped,
    compose,
    services,
)
from tests.support.conversation import Conversation
from tests.support.exchanger import Exchanger
from tests.support.ringback import ROOT, Ringback
from tests.support.waiting import eventually
from tests.system.test_packaging import _stage

PROFILES = {
    "": {"ringback", "mailpit"},
    "postfix": {"ringback-postfix", "postfix"},
    "cluster": {"haproxy", "ringback-1", "ringback-2", "redis"},
    "metrics": {"prometheus"},
}


def without(service: str) -> str:
    """Return the file as it is when the lines of a service are deleted."""
    before, _, rest = COMPOSE.partition(f"\n  {service}:\n")
    end = re.search(r"^(?:  )?\S", rest, re.MULTILINE)
    assert end is not None
    return f"{before}\n{rest[end.start() :]}"


def wrong_with(loaded: dict[str, Any]) -> Iterator[str]:
    """Yield what compose refuses although it fits the schema: names that lead nowhere."""
    known = loaded["services"]
    for name, service in known.items():
        yield from (
            f"{name} depends on {each}" for each in service.get("depends_on", ()) if not _starts(known, name, each)
        )
        yield from (f"{name} mounts {each}" for each in service.get("volumes", ()) if not _is_mounted(loaded, each))
        yield from (f"{name} is in {each}" for each in service.get("networks", ()) if each not in loaded["networks"])


def _starts(known: dict[str, Any], name: str, other: str) -> bool:
    """Tell whether a service is there whenever another one is started."""
    needs, has = known[name].get("profiles", []), known.get(other, {}).get("profiles", [])
    return other in known and (not has or bool(needs and set(needs) <= set(has)))


def _is_mounted(loaded: dict[str, Any], volume: str) -> bool:
    source = volume.split(":", maxsplit=1)[0]
    return (ROOT / source).exists() if source.startswith(".") else source in loaded["volumes"]


# ---------------------------------------------------------------- the file


def test_each_profile_starts_its_services() -> None:
    found: dict[str, set[str]] = {}
    for name, service in services().items():
        for profile in service.get("profiles", [""]):
            found.setdefault(profile, set()).add(name)
    assert found == PROFILES
    assert all(f"--profile {profile} up" in COMPOSE for profile in PROFILES if profile)


def test_every_name_in_it_leads_somewhere() -> None:
    assert list(wrong_with(compose())) == []


@pytest.mark.parametrize("service", sorted(services()))
def test_without_a_service_the_file_stays_valid(service: str) -> None:
    loaded = compose(without(service))
    assert set(loaded["services"]) == set(services()) - {service}
    assert list(wrong_with(loaded)) == []


def _ipv6(text: str) -> str:
    """Return the file with the lines of the page about IPv6."""
    page = (ROOT / "docs/operating.md").read_text()
    (lines,) = re.findall(r"^```\n(networks:\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert lines.startswith("networks:\n  default:\n")
    return text.replace("\nnetworks:\n  default:\n", f"\n{lines}")


@pytest.mark.parametrize(
    "change",
    [
        _ipv6,
        lambda text: text.replace('- "25:2525"', '- "2525:2525"'),
        lambda text: text.replace('- "25:2525"', '- "[::]:25:2525"\n      - "0.0.0.0:25:2525"'),
    ],
    ids=["ipv6", "port", "addresses"],
)
def test_changed_as_the_pages_say_the_file_stays_valid(change: Callable[[str], str], tmp_path: Path) -> None:
    text = change(COMPOSE)
    assert text != COMPOSE
    (tmp_path / "docker-compose.yml").write_text(text)
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert list(wrong_with(compose(text))) == []


def test_a_name_that_leads_nowhere_would_be_found() -> None:
    loaded = {
        "services": {
            "a": {"depends_on": ["b", "c"], "volumes": ["v:/v", "./gone:/x"], "networks": ["n"], "profiles": ["p"]},
            "c": {"profiles": ["q"]},
        },
        "volumes": {},
        "networks": {},
    }
    assert len(list(wrong_with(loaded))) == 5


def test_each_ringback_has_a_volume_of_its_own_for_its_state() -> None:
    states = Counter(
        each.split(":")[0]
        for service in services().values()
        for each in service.get("volumes", ())
        if each.endswith(":/var/lib/ringback")
    )
    assert sorted(states.values()) == [1, 1, 1, 1]


def test_no_two_services_publish_one_port() -> None:
    ports = [each.rpartition(":")[0] for service in services().values() for each in service.get("ports", ())]
    assert len(ports) == len(set(ports))
    assert all(port.startswith("127.0.0.1:") for port in ports if not port.endswith(("25", "2526", "2527"))), (
        "what has no password is on loopback"
    )


@pytest.mark.parametrize(
    ("service", "network", "files"),
    [
        ("ringback-postfix", "postfix", ["postfix/main.cf"]),
        ("haproxy", "cluster", ["cluster.conf"]),
    ],
)
def test_the_address_that_a_file_trusts_is_the_one_that_the_service_has(
    service: str, network: str, files: list[str]
) -> None:
    address = services()[service]["networks"][network]["ipv4_address"]
    (pool,) = compose()["networks"][network]["ipam"]["config"]
    assert ip_address(address) in ip_network(pool["subnet"])
    assert list(services()[service]["networks"]) == [network], "from another network it would have another address"
    assert all(address in (DOCKER / each).read_text() for each in files)


def test_every_target_is_a_stage_that_runs_what_its_mounts_configure() -> None:
    for name, service in services().items():
        if "build" not in service:
            continue
        stage = _stage(service["build"]["target"])
        copied = {
            Path(rest.split()[-1]) / Path(word).name if rest.endswith("/") else Path(rest.split()[-1])
            for instruction, rest in stage
            if instruction == "COPY" and "--from" not in rest
            for word in rest.split()[:-1]
        }
        mounted = {Path(each.split(":")[1]) for each in service["volumes"] if each.startswith(".")}
        assert mounted <= copied, name
        volumes = {each.split(":")[1] for each in service["volumes"] if not each.startswith(".")}
        declared = {path for instruction, rest in stage if instruction == "VOLUME" for path in json.loads(rest)}
        assert volumes == declared, name


def test_every_service_that_a_file_names_is_there() -> None:
    hosts = {
        "haproxy.cfg": re.findall(r"server \S+ ([\w-]+):", (DOCKER / "haproxy.cfg").read_text()),
        "prometheus.yml": re.findall(r'"([\w-]+):9025"', (DOCKER / "prometheus.yml").read_text()),
        "cluster.conf": re.findall(r"redis://([\w-]+):", (DOCKER / "cluster.conf").read_text()),
        "postfix.conf": re.findall(r'Gateway = "(.+)"', (DOCKER / "postfix.conf").read_text()),
        "ecelerity.conf": re.findall(r"Metrics_Hosts = \( (.+) \)", (DOCKER / "ecelerity.conf").read_text())[0].split(),
    }
    assert all(hosts.values())
    assert {each for names in hosts.values() for each in names} <= set(services())


# ---------------------------------------------------------------- the profiles


async def _sent(port: int, sender: str, recipient: str, *, source: str | None = None) -> str:
    """Send one message, and return the last reply."""
    async with await Conversation.open("127.0.0.1", port, source=source) as client:
        await client.ehlo()
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = await client.ask(line)
            if reply[0] in "45":
                return reply
        await client.send_raw(b"Subject: hello\r\n\r\nhello\r\n.\r\n")
        return await client.reply(within=60)


async def test_without_a_profile_mail_goes_through_to_the_service_that_shows_it(tmp_path: Path) -> None:
    async with Exchanger() as shown:
        ringback = await Ringback(Shipped(upstream_port=shown.port), tmp_path).started()
        try:
            assert (await _sent(ringback.port, "you@no-such-domain.test", "anna@example.com")).startswith("250 "), (
                "shadow"
            )
            assert [each.recipients for each in shown.messages] == [("RCPT TO:<anna@example.com>",)]
            assert (await _sent(ringback.port, "", "x@foreign.test")).startswith("550 5.7.1")
        finally:
            await asyncio.to_thread(ringback.stop)


@pytest.mark.real("postfix")
async def test_profile_postfix_a_real_postfix_hears_who_the_client_is(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        shown = Exchanger()
        await shown.start()
        stack.push_async_callback(shown.stop)
        postfix = ComposedPostfix(shown.port)
        await asyncio.to_thread(postfix.start)
        stack.callback(postfix.stop)
        places = {
            'Gateway = "postfix"\nRemote_SMTP_Port = 25': f'Gateway = "127.0.0.1"\nRemote_SMTP_Port = {postfix.port}'
        }
        ringback = await Ringback(Shipped(file="postfix.conf", places=places), tmp_path).started()
        stack.push_async_callback(asyncio.to_thread, ringback.stop)
        taken = await _sent(ringback.port, "", "anna@example.com", source="127.0.0.7")
        assert taken.startswith("250 2.0.0 Ok: queued as "), taken
        await eventually(lambda: shown.messages, "the message is shown")
        content = shown.messages[0].content
        assert re.search(rb"^Received: from client\.test \(unknown \[127\.0\.0\.7\]\)", content, re.MULTILINE), content
        assert (await _sent(ringback.port, "", "x@foreign.test")).startswith("550 5.7.1"), (
            "Ringback relays nothing else"
        )
        assert (await _sent(postfix.port, "", "x@foreign.test")).startswith("554 5.7.1"), (
            "nor does Postfix, asked by us"
        )


@pytest.mark.real("prometheus")
async def test_profile_metrics_prometheus_scrapes_and_knows_the_rules(tmp_path: Path) -> None:
    with ExitStack() as stack:
        setup = Shipped(upstream_port=9)
        ringback = await Ringback(setup, tmp_path).started()
        stack.callback(ringback.stop)
        prometheus = ComposedPrometheus(setup.metrics_port)
        await asyncio.to_thread(prometheus.start)
        stack.callback(prometheus.stop)

        def asked(path: str) -> Any:
            with (
                suppress(OSError),
                urllib.request.urlopen(f"http://{prometheus.address}/api/v1/{path}", timeout=10) as page,
            ):
                return json.load(page)["data"]
            return {}

        def value(query: str) -> list[str]:
            return [each["value"][1] for each in asked(f"query?query={query}").get("result", ())]

        await eventually(lambda: value("up") == ["1"], "Ringback is scraped")
        await eventually(lambda: value("ringback_workers"), "its metrics are there")
        groups = asked("rules")["groups"]
        names = {rule["name"] for group in groups for rule in group["rules"]}
        assert "RingbackIsDown" in names
        await eventually(
            lambda: {rule["health"] for group in asked("rules")["groups"] for rule in group["rules"]} == {"ok"},
            "rules run",
        )
        page = setup.metrics_port
        assert [await _status(page, host) for host in ("ringback:9025", "ringback-2:9025", "elsewhere.test")] == [
            200,
            200,
            403,
        ]


async def _status(port: int, host: str) -> int:
    """Ask for metrics under the name of a service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])
