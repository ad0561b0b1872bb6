"""What CONTRIBUTING.md, internals.md and the README name is there: files, folders, names in files, make targets."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "docs/internals.md", "README.md")
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
TEXT = TEXTS["CONTRIBUTING.md"]

_PATH = re.compile(r"`((?:config|sieve|proxy|tests|docs|packaging|bench|etc)/[\w./-]+|[\w-]+\.(?:md|toml)|\.ci/run)`")

_SHORT = re.compile(r"`([a-z_]+/[\w/]+(?:\.py)?)`")
"""What internals.md shortens: `smtp/plan.py` is proxy/smtp/plan.py."""

_NAME_IN_FILE = re.compile(
    r"`([A-Za-z_]\w*)`(?: and `([A-Za-z_]\w*)`)? (?:in |\()`((?:proxy|sieve|tests)/[\w./]+\.\w+)`"
)
"""A name, and the file that it is said to be in."""


def _is_there(name: str) -> bool:
    return (ROOT / name).exists() or (ROOT / "proxy" / name).exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_it_names_is_there(page: str) -> None:
    named = _PATH.findall(TEXTS[page]) + _SHORT.findall(TEXTS[page])
    assert named
    assert [each for each in named if not _is_there(each)] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    named = re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXTS[page])
    assert [each for each in named if not (ROOT / page).parent.joinpath(each).exists()] == []


def test_what_it_names_in_a_file_is_in_that_file() -> None:
    named = _NAME_IN_FILE.findall(" ".join(TEXT.split()))
    assert len(named) > 8
    lost = [
        (name, path) for *names, path in named for name in names
        if name and not re.search(rf"\b{re.escape(name)}\b", (ROOT / path).read_text())
    ]  # fmt: skip
    assert lost == []


def test_every_test_that_it_names_is_there() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    named = [each for page in PAGES for each in re.findall(r"`(test_\w+)`", TEXTS[page])]
    assert [each for each in named if f"def {each}(" not in sources] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_it_names_is_there(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"`?make ([\w./-]+)", "".join(re.findall(r"`[^`]*`|```[^`]*```", TEXTS[page])))
    targets = set(re.findall(r"^([\w./$()-]+):", makefile.replace("$(VENV)", ".venv"), re.MULTILINE))
    assert {each for each in named if each not in targets and each != ".venv/installed-dev"} == set()


def test_every_command_that_it_names_can_be_run() -> None:
    commands = [line for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    assert len(commands) > 1
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for line in commands + re.findall(r"`(?:\.venv/bin/)?(python -m [\w.]+)`", TEXT):
        words = shlex.split(line)
        if words[:2] == ["python", "-m"]:
            assert (ROOT / (words[2].replace(".", "/") + ".py")).exists() or (ROOT / words[2]).is_dir(), line
        assert [each for each in words if each.startswith("tests/") and not (ROOT / each).exists()] == [], line
    assert "pytest" in str(scripts["project"]["optional-dependencies"]["dev"])


def test_every_folder_of_the_code_is_on_the_map() -> None:
    folders = [
        path
        for package in ("config", "sieve", "proxy")
        for path in sorted((ROOT / package).iterdir())
        if (path / "__init__.py").exists()
    ]
    named = [str(path.relative_to(ROOT)) for path in folders]
    assert [each for each in named if f"`{each}`" not in TEXT] == []


def test_the_table_of_layers_is_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["name"] == "proxy: imports go down only"]
    table = TEXTS["docs/internals.md"].partition("| layer of `proxy` |")[2].partition("\n\n")[0]
    rows = [set(re.findall(r"`(\w+)`", row)) for row in table.splitlines()[2:]]
    assert rows == [set(re.findall(r"\w+", layer)) for layer in layers]
