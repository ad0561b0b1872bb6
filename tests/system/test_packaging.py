"""What ships fits together: the customer's configuration as printed, the image's recipe, compose, and the CI script.

No container engine is needed: compose and the recipe are read as what they are and compared with each other.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from proxy.modules.smtp_cbv.options import SmtpCbvOptions
from proxy.options.core import CoreOptions
from proxy.server.worker import DRAIN_GRACE
from tests.support.programs import UNPACKED
from tests.support.ringback import PRINTED_PATH, PRINTED_SCRIPT, PRINTED_STANZAS, ROOT, run
from tests.system.senders import SENDERS

LONGEST_STOP = CoreOptions.model_fields["body_timeout"].default + DRAIN_GRACE
"""Seconds that stopping may take: the upstream's time for its answer to the final dot, and a grace."""

CONFIGURATION = "/etc/ringback"
SCRIPT = "scripts/sender_callback.siv"


# ---------------------------------------------------------------- the configuration that ships


def test_the_two_stanzas_ship_as_printed_but_for_the_path_of_the_script() -> None:
    assert (ROOT / "etc/sender_callback.conf").read_bytes() == PRINTED_STANZAS.replace(PRINTED_PATH, SCRIPT).encode()


def test_the_script_ships_as_printed() -> None:
    assert (ROOT / "etc" / SCRIPT).read_bytes() == PRINTED_SCRIPT.encode()


def test_the_strict_script_ships_and_is_the_one_of_the_page(tmp_path: Path) -> None:
    path = ROOT / "etc/scripts/sender_callback_strict.siv"
    rules = "".join(line for line in path.read_text().splitlines(keepends=True) if not line.startswith("#"))
    assert rules.startswith(PRINTED_SCRIPT)
    assert rules in _recipes("docs/callback-verification.md", "$from")
    assert run("sieve", "check", str(path), folder=tmp_path) == (0, f"{path}: no errors\n")


@pytest.mark.parametrize("name", ["ecelerity.conf", "docker/ecelerity.conf"])
def test_a_configuration_that_ships_includes_the_stanzas_and_passes_the_check(name: str, tmp_path: Path) -> None:
    path = ROOT / "etc" / name
    included = re.findall(r'^include "(.+)"$', path.read_text(), re.MULTILINE)
    assert [(path.parent / each).resolve() for each in included] == [ROOT / "etc/sender_callback.conf"]
    status, printed = run("check", str(path), folder=tmp_path)
    assert status == 0, printed
    assert f"{path}: no errors\n" in printed


@pytest.mark.parametrize("name", ["ecelerity.conf", "docker/ecelerity.conf"])
def test_a_configuration_that_ships_begins_in_shadow_mode_by_one_line(name: str, tmp_path: Path) -> None:
    text = (ROOT / "etc" / name).read_text()
    line = "smtp_cbv { enforce = false }\n"
    assert text.count(line) == 1
    for written, enforces in ((text, "false"), (text.replace(line, ""), "true")):
        path = tmp_path / "a.conf"
        path.write_text(re.sub(r'include "(.+)"', lambda each: f'include "{ROOT}/etc/{Path(each[1]).name}"', written))
        shown = run("config", "show", "--defaults", "-c", str(path), folder=tmp_path)[1]
        assert re.findall(r"\benforce = (\w+)", shown) == [enforces]


# ---------------------------------------------------------------- the image and compose


@cache
def _recipe() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions as (INSTRUCTION, rest), comments out and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.partition(" ")[0].upper(), line.partition(" ")[2].strip()) for line in lines if line.strip()]


def _final_stage() -> list[tuple[str, str]]:
    """Return the instructions of the stage that runs."""
    return _stage("ringback")


def _stage(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a stage, its FROM first."""
    stages = [at for at, (instruction, _) in enumerate(_recipe()) if instruction == "FROM"]
    begin = next(at for at in stages if _recipe()[at][1].endswith(f" AS {name}"))
    return _recipe()[begin : min((at for at in stages if at > begin), default=None)]


def _all(instruction: str) -> list[str]:
    return [rest for each, rest in _final_stage() if each == instruction]


def _only(instruction: str) -> str:
    (rest,) = _all(instruction)
    return rest


def _environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in _all("ENV") for pair in shlex.split(rest))


def _image_folders() -> set[str]:
    """Return the folders that the recipe makes or fills."""
    made = {word for rest in _all("RUN") for word in shlex.split(rest) if word.startswith("/var/")}
    return made | {shlex.split(rest)[-1] for rest in _all("COPY")}


@cache
def _compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())
    return loaded


def _service() -> dict[str, Any]:
    service: dict[str, Any] = _compose()["services"]["ringback"]
    return service


def _mounted_configuration() -> Path:
    """Return the file of the checkout that the container's command line names."""
    return ROOT / "etc" / Path(_service()["command"][-1]).relative_to(CONFIGURATION)


def _option(name: str) -> str | None:
    """Return the value of a one-line option in the configuration that the container runs."""
    found = re.search(rf"^{name}\s*=\s*(.+?)\s*$", _mounted_configuration().read_text(), re.MULTILINE | re.IGNORECASE)
    return found[1].strip('"') if found else None


def test_everything_that_the_image_copies_is_there_and_reaches_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    sources = [
        word
        for instruction, rest in _recipe()
        if instruction == "COPY"
        for word in shlex.split(rest)[:-1]
        if not rest.startswith("--from")
    ]
    assert sources
    for source in sources:
        name = source.removeprefix("./")
        assert (ROOT / name).exists(), source
        assert any(fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in let_in), (
            f"{source} is left out by .dockerignore"
        )


def test_what_the_wheel_is_built_from_is_copied_before_it_is_built() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"], "pyproject.toml"}
    wanted.add(project["tool"]["hatch"]["version"]["path"])
    wanted |= set(project["project"]["license-files"])
    build = _recipe()[: next(at for at, (_, rest) in enumerate(_recipe()) if "pip wheel --no-deps" in rest)]
    copied = {
        word.removeprefix("./")
        for instruction, rest in build
        if instruction == "COPY"
        for word in shlex.split(rest)[:-1]
    }
    assert copied >= wanted


def test_every_stage_starts_from_one_pinned_image_and_the_last_is_ringback() -> None:
    argument = next(rest for instruction, rest in _recipe() if instruction == "ARG")
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", argument)
    assert [rest for instruction, rest in _recipe() if instruction == "FROM"] == [
        "${PYTHON_IMAGE} AS build",
        "${PYTHON_IMAGE} AS ringback",
        "${PYTHON_IMAGE} AS debian",
        *(f"debian AS {name}" for name in ("postfix", "haproxy", "redis", "prometheus")),
        "ringback",
    ]


def test_the_command_of_image_and_compose_is_one_that_the_project_installs() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        scripts = tomllib.load(file)["project"]["scripts"]
    (entry,) = json.loads(_only("ENTRYPOINT"))
    assert entry in scripts
    assert json.loads(_only("CMD")) == ["serve", "-c", f"{CONFIGURATION}/ecelerity.conf"]
    assert _service()["command"][:2] == ["serve", "-c"]
    assert "entrypoint" not in _service()


def test_the_image_holds_the_configuration_that_its_command_names() -> None:
    assert f"etc {CONFIGURATION}" in _all("COPY")
    assert (ROOT / "etc/ecelerity.conf").is_file()


def test_compose_runs_a_configuration_that_it_mounts() -> None:
    assert f"./etc:{CONFIGURATION}:ro" in _service()["volumes"]
    assert _mounted_configuration().is_file()


def test_every_mount_is_on_a_folder_of_the_image_and_every_named_volume_is_declared() -> None:
    mounts = [each.split(":") for each in _service()["volumes"]]
    assert {target for _, target, *_ in mounts} <= _image_folders()
    named = {source for source, *_ in mounts if not source.startswith((".", "/"))}
    assert named == {"state", "spool"}


def test_the_volumes_of_the_image_are_the_folders_that_its_user_owns() -> None:
    owned = next(rest for rest in _all("RUN") if "--owner=ringback" in rest)
    assert all(folder in owned for folder in json.loads(_only("VOLUME")))
    mounted = {each.split(":")[1] for each in _service()["volumes"]}
    assert set(json.loads(_only("VOLUME"))) == mounted - {CONFIGURATION}


def test_one_port_runs_through_listener_image_and_compose() -> None:
    port = _only("EXPOSE")
    assert _option("ESMTP_Listener") == f"( 0.0.0.0:{port} )"
    assert _option("Metrics_Listener") == "( 0.0.0.0:9025 )"
    assert _option("Web_Listener") == "( 0.0.0.0:9026 )"
    assert _service()["ports"] == [f"25:{port}", "127.0.0.1:9025:9025", "127.0.0.1:9026:9026"]
    assert _service()["healthcheck"]["test"] == ["CMD", "ringback", "status"]
    assert int(port) >= 1024, "a container without capabilities cannot bind it"


def test_compose_checks_health_as_the_image_does() -> None:
    rest = _only("HEALTHCHECK")
    options, _, command = rest.partition("CMD ")
    spoken = _service()["healthcheck"]
    assert json.loads(command) == spoken["test"][1:]
    assert spoken["test"][0] == "CMD"
    for name in ("interval", "timeout", "retries"):
        assert f"--{name}={spoken[name]}" in options.split()
    assert f"--start-period={spoken['start_period']}" in options.split()


def test_every_variable_that_compose_sets_is_one_of_the_image() -> None:
    assert _service()["environment"].items() <= _environment().items()
    assert _environment()["PYTHONSAFEPATH"] == "1"


def test_the_gateway_of_the_container_is_the_service_beside_it() -> None:
    gateway = _option("Gateway")
    assert gateway in _compose()["services"]
    assert _compose()["services"][gateway]["image"].startswith("${MAILPIT_IMAGE:-axllent/mailpit:")
    assert _option("Remote_SMTP_Port") == "1025"


def test_images_of_others_are_pinned_and_a_variable_replaces_each() -> None:
    image = _compose()["services"]["mailpit"]["image"]
    assert re.fullmatch(r"\$\{MAILPIT_IMAGE:-axllent/mailpit:v\d+\.\d+\.\d+\}", image)
    declared = {rest.partition("=")[0] for instruction, rest in _recipe() if instruction == "ARG"}
    assert "PYTHON_IMAGE" in _service()["build"]["args"]
    assert set(_service()["build"]["args"]) <= declared


def test_no_file_of_the_packaging_names_a_registry() -> None:
    files = [ROOT / each for each in ("Dockerfile", "docker-compose.yml", "pyproject.toml", "Makefile", ".ci/run")]
    files += [path for path in (ROOT / "packaging").rglob("*") if path.is_file()]
    named = re.compile(r"https?://(?!127\.0\.0\.1|localhost|www\.debian\.org/doc/)|--(extra-)?index-url")
    assert [str(path) for path in files if named.search(path.read_text(errors="replace"))] == []


def test_a_container_trusts_no_client_by_its_address() -> None:
    assert _option("Relay_Hosts") is None
    comment = " ".join(re.findall(r"^# ?(.*)$", _mounted_configuration().read_text(), re.MULTILINE))
    assert "No Relay_Hosts here" in comment
    assert "bridge's gateway" in comment


def test_the_container_runs_without_root_capabilities_or_a_writable_root() -> None:
    user = _only("USER")
    assert user == "ringback"
    assert f"useradd --system --uid 2525 --gid {user}" in " ".join(_all("RUN"))
    service = _service()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert [each.split(":")[0] for each in service["tmpfs"]] == ["/tmp"]


def test_a_container_is_stopped_more_patiently_than_the_longest_answer_to_the_dot() -> None:
    assert int(_service()["stop_grace_period"].removesuffix("s")) > LONGEST_STOP
    assert _only("STOPSIGNAL") == "SIGTERM"
    before_it = _compose()["services"]["haproxy"]["stop_grace_period"]
    assert before_it == _service()["stop_grace_period"], "a session through HAProxy ends with Ringback's"


# ---------------------------------------------------------------- the doors and the CI script


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_command_that_readme_names_is_a_door() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)\b", "".join(_code((ROOT / "README.md").read_text()))))
    assert {"demo", "test"} <= named <= _targets()


def _code(markdown: str) -> list[str]:
    """Return the contents of code blocks and code spans."""
    blocks = re.findall(r"^```.*?^```", markdown, re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`([^`\n]+)`", markdown)


def test_ci_does_what_the_test_command_of_readme_does_and_demands_the_real_servers() -> None:
    recipes = (ROOT / "Makefile").read_text()
    assert re.search(r"^test: .*\n\t@.* checks compiled\n\t\$\(PYTEST\) \$\(ARGS\)\n\n", recipes, re.MULTILINE)
    assert re.search(r"^suite: .*\n\t\$\(PYTEST\) \$\(ARGS\)\n\n", recipes, re.MULTILINE)
    lines = (ROOT / ".ci/run").read_text().splitlines()
    at = lines.index("make suite && exit")
    assert any(" checks compiled; } >" in line for line in lines[:at])
    assert '((status == 0)) || exit "$status"' in lines[:at]
    assert "export RINGBACK_REQUIRE_REAL=1" in lines[:at]
    assert any("ringback/ended) == 1 ]]" in line for line in lines[at:])  # the whole suite has run
    assert "MOST_AGAIN=5" in "".join(lines[at:])  # up to this many failures run again, and must pass then
    assert lines[-1] == ".venv/bin/pytest --last-failed --last-failed-no-failures none"
    assert "set -euo pipefail" in lines
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_ci_installs_the_servers_that_tests_ask_for() -> None:
    script = (ROOT / ".ci/run").read_text()
    arrays = " ".join(re.findall(r"^readonly [A-Z_]+=\((.*)\)$", script, re.MULTILINE))
    installed = set(re.findall(r":/usr/[a-z0-9/]*\bs?bin/([a-z0-9-]+)", arrays))
    installed |= set(re.findall(r"perl -M(\S+)", script))
    marked = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for names in re.findall(r"mark\.real\(([^)]*)\)", path.read_text())
        for name in re.findall(r'"([^"]+)"', names)
    }
    marked |= {name for each in SENDERS for name in (*each.needs, *each.needs_for_tls)}
    assert {"exim4", "swaks", "Net::SSLeay"} <= marked
    assert marked <= installed
    assert all(f" {variable}=" in script for variable in UNPACKED.values())


def _recipes(page: str, first_word: str) -> list[str]:
    """Return the code blocks of a page that begin with a word."""
    blocks = re.findall(r"^```\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [block for block in blocks if block.startswith(first_word)]


@pytest.mark.parametrize("page", ["README.md", "docs/callback-verification.md"])
def test_every_script_in_the_pages_compiles(page: str, tmp_path: Path) -> None:
    scripts = _recipes(page, "$from")
    assert PRINTED_SCRIPT in scripts
    for script in scripts:
        (tmp_path / "recipe.siv").write_text(script)
        assert run("sieve", "check", "recipe.siv", folder=tmp_path) == (0, "recipe.siv: no errors\n")


@pytest.mark.parametrize("page", ["README.md", "docs/callback-verification.md"])
def test_every_configuration_in_the_pages_loads(page: str, tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "sender_callback.siv").write_text(PRINTED_SCRIPT)
    core = "ESMTP_Listener = ( 127.0.0.1:2525 )\nGateway = 127.0.0.1\n"
    stanzas = PRINTED_STANZAS.replace(PRINTED_PATH, SCRIPT)
    configurations = [
        *_recipes(page, "ESMTP_Listener"),
        *(core + each for each in _recipes(page, "Validate")),
        *(core + stanzas + each for each in _recipes(page, "smtp_cbv")),
    ]
    assert any(stanzas in each for each in configurations)
    for configuration in configurations:
        (tmp_path / "recipe.conf").write_text(configuration)
        status, printed = run("check", "recipe.conf", folder=tmp_path)
        assert (status, printed.startswith("recipe.conf: no errors\n")) == (0, True), printed


def _logged_events() -> set[str]:
    """Return the name of every event that the server's code can log."""
    text = "\n".join(path.read_text() for path in (ROOT / "proxy").rglob("*.py"))
    # `log_dropped` is the log's own last line.
    return {"log_dropped", *re.findall(r"\blog\b[\w.()]*\.(?:info|warning|error)\(\s*\"(\w+)\"", text)}


def test_every_event_of_the_log_is_explained_to_the_operator() -> None:
    page = (ROOT / "docs/events.md").read_text().partition("## Fields")[0]
    explained = {
        name for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert _logged_events() <= explained


def test_every_option_of_the_sizing_table_exists_with_the_default_it_names() -> None:
    fields = CoreOptions.model_fields | SmtpCbvOptions.model_fields
    table = (ROOT / "docs/operating.md").read_text().partition("## Sizing")[2]
    rows = re.findall(r"^\| [^|]+ \| (`[^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    shown = {
        name: float(default)
        for names, defaults in rows
        for name, default in zip(re.findall(r"`(\w+)`", names), re.findall(r"\d+", defaults), strict=True)
    }
    assert len(shown) > 10
    assert shown == {name: fields[name].default for name in shown}


def test_every_page_and_file_that_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
