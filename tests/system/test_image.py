"""The images, built on a Debian of our own and run by a real runtime as docker-compose.yml says.

Ringback's has no root, no capability and nothing to write; the others belong to the profiles.
"""

from __future__ import annotations

import asyncio
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.compose import services
from tests.support.container import Container, Image
from tests.support.conversation import Conversation
from tests.support.programs import accepts_connections, free_port
from tests.support.ringback import ROOT
from tests.support.servers import MAIL_DOMAIN, Postfix
from tests.support.waiting import eventually

pytestmark = pytest.mark.real("debootstrap", "buildah", "runc")

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with Image() as built:
        yield built


def test_its_size_is_what_the_page_states(image: Image) -> None:
    found = re.search(r"[Tt]he image has (\d+) MB", (ROOT / "docs/installing.md").read_text().replace("\n", " "))
    assert found
    assert abs(image.size / MEGABYTE - int(found[1])) < 0.1 * int(found[1]), image.size


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as opened:
        file = opened.extractfile(name)
        assert file is not None
        return file.read()


def test_it_can_be_given_away_in_the_formats_of_oci_and_docker(image: Image, tmp_path: Path) -> None:
    for form in ("oci", "docker"):
        place = tmp_path / f"{form}.tar"
        image.buildah(
            "push", "--format", "oci" if form == "oci" else "v2s2", image.name, f"{form}-archive:{place}:ringback:x"
        )
    index = json.loads(_member(tmp_path / "oci.tar", "index.json"))
    (described,) = index["manifests"]
    assert described["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    manifest = json.loads(_member(tmp_path / "oci.tar", "blobs/" + described["digest"].replace(":", "/")))
    assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    (entry,) = json.loads(_member(tmp_path / "docker.tar", "manifest.json"))
    configuration = json.loads(_member(tmp_path / "docker.tar", entry["Config"]))["config"]
    assert configuration["Healthcheck"]["Test"] == ["CMD", "ringback", "status"]
    assert configuration["User"] == "ringback"


def _configuration(folder: Path, port: int, upstream: int) -> Path:
    made = folder / "etc"
    made.mkdir()
    (made / "ecelerity.conf").write_text(
        f"ESMTP_Listener = ( 127.0.0.1:{port} [::1]:{port} )\n"
        'Hostname = "ringback.test"\n'
        f"Relay_Domains = ( {MAIL_DOMAIN} )\n"
        'Gateway = "127.0.0.1"\n'
        f"Remote_SMTP_Port = {upstream}\n"
    )
    return made


async def test_a_container_relays_over_both_protocols_is_healthy_and_finishes_what_it_began(
    image: Image, postfix: Postfix, tmp_path: Path
) -> None:
    port = free_port()
    mounts = {"/etc/ringback": _configuration(tmp_path, port, postfix.port)}
    service = {**services()["ringback"], "command": image.configuration["Cmd"]}
    with Container(image, tmp_path, service=service, mounts=mounts) as container:
        await eventually(lambda: accepts_connections("::1", port), "the container serves", within=60)
        await eventually(container.is_healthy, "the check of the image finds it healthy")
        _is_confined(container)
        for address in ("127.0.0.1", "::1"):
            async with await Conversation.open(address, port) as client:
                reply = await client.deliver("", [f"a@{MAIL_DOMAIN}"], f"Subject: by {address}\r\n\r\nx\r\n".encode())
                assert reply.startswith("250 "), reply
        async with await Conversation.open("::1", port) as open_one, await Conversation.open("::1", port) as idle:
            await open_one.envelope("", [f"a@{MAIL_DOMAIN}"])
            container.signal()
            assert (await idle.reply()).startswith("421 4.3.2 ")
            assert (await open_one.content(b"Subject: finished\r\n\r\nx\r\n")).startswith("250 ")
        assert container.program is not None
        assert await asyncio.to_thread(container.program.wait, within=60) == 0
    for mark in (b"by 127.0.0.1", b"by ::1", b"finished"):
        await eventually(lambda mark=mark: len(postfix.delivered(mark)) == 1, f"{mark!r} is delivered once")


def _is_confined(container: Container) -> None:
    lines = container.inside("cat", "/proc/1/status").stdout.splitlines()
    state = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert state["Uid"] == ["2525"] * 4
    assert {state[name][0] for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {"0" * 16}
    assert state["NoNewPrivs"] == ["1"]
    refused = container.inside("sh", "-c", "echo x >/etc/x || echo x >/opt/ringback/x || echo x >/x")
    assert refused.returncode != 0
    assert refused.stdout.count("Read-only file system") == 3, refused.stdout
    assert container.inside("sh", "-c", "echo x >/var/lib/ringback/x && echo x >/var/spool/ringback/x").returncode == 0


# ---------------------------------------------------------------- the images of the profiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """What an image of a profile can be asked: whether its files are sound, and a port of it."""

    check: str
    port: int
    said: str = ""
    answer: str = ""
    """How its first line begins; HAProxy has none, because no Ringback is there."""


COMPANIONS = {
    "postfix": Companion(
        check="postfix check && echo x | sendmail x@example.com && until mailq | grep mailpit; do sleep 0.1; done",
        port=25,
        answer="220 mail.example.com ESMTP",
    ),
    "haproxy": Companion(check="haproxy -c -f /etc/haproxy/haproxy.cfg", port=2525),
    "redis": Companion(check="redis-cli ping", port=6379, said="PING\r\n", answer="+PONG"),
    "prometheus": Companion(
        check="promtool check config /etc/prometheus/prometheus.yml",
        port=9090,
        said="GET /-/ready HTTP/1.0\r\n\r\n",
        answer="HTTP/1.0 200 OK",
    ),
}


def test_each_service_that_is_built_is_tried() -> None:
    assert {each["build"]["target"] for each in services().values() if "build" in each} == {"ringback", *COMPANIONS}


@pytest.mark.parametrize("name", COMPANIONS)
def test_an_image_of_a_profile_is_built_and_serves_within_the_limits_of_its_service(name: str, tmp_path: Path) -> None:
    wanted = COMPANIONS[name]
    with Image(name) as image, Container(image, tmp_path, service=services()[name], isolated=True) as container:
        program = container.program
        assert program is not None
        program.wait_ready(lambda: (container.answer(wanted.port, wanted.said) or "-").startswith(wanted.answer))
        checked = container.inside("sh", "-c", wanted.check)
        assert checked.returncode == 0, checked.stdout
        assert container.ended(within=60) == 0, program.printed()
        assert "warning: " not in program.printed()
