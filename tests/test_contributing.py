"""CONTRIBUTING.md names files, folders and make targets that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_path_that_it_names_is_there() -> None:
    named = re.findall(r"`((?:config|sieve|proxy|tests|docs)/[\w./-]+|[A-Z]+\.md|\.ci/run)`", TEXT)
    assert len(named) > 30
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_every_make_target_that_it_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"make ([\w./-]+)", TEXT.replace("make .venv/installed-dev", "make test"))
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    assert {each for each in named if each not in targets} == set()


def test_every_folder_of_the_code_is_on_the_map() -> None:
    folders = [
        path
        for package in ("config", "sieve", "proxy")
        for path in sorted((ROOT / package).iterdir())
        if (path / "__init__.py").exists()
    ]
    named = [str(path.relative_to(ROOT)) for path in folders]
    assert [each for each in named if f"`{each}`" not in TEXT] == []
