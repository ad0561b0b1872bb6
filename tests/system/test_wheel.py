"""Wheel and sdist are the same, pipx installs them into an empty environment; each knows its version; the lock fits."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.ringback import ROOT

PYTHON_OF_THE_PACKAGE = {"python_version": "3.11", "python_full_version": "3.11.2"}
"""Debian's, where the lock is used."""

WITHOUT_VERSION = {name: value for name, value in os.environ.items() if name != "RINGBACK_VERSION"}


def _did(*command: str | Path, folder: Path = ROOT, **variables: str) -> str:
    """Run a command that succeeds; return what it printed."""
    ended = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env=WITHOUT_VERSION | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-5000:]
    return ended.stdout


def _built(target: str, folder: Path, *, source: Path = ROOT) -> Path:
    """Build a wheel or an sdist into a folder."""
    _did(sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", folder, folder=source)
    (made,) = folder.iterdir()
    return made


# ---------------------------------------------------------------- the version


def _version_of(checkout: Path, **variables: str) -> str:
    return _did(sys.executable, checkout / "packaging/release.py", **variables).strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit, and in it the script that tells the version."""
    folder = tmp_path / "checkout"
    (folder / "packaging").mkdir(parents=True)
    (folder / "packaging/release.py").write_bytes((ROOT / "packaging/release.py").read_bytes())
    _did("git", "init", "--quiet", folder=folder)
    _commit(folder)
    return folder


def _commit(folder: Path) -> None:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    _did("git", *who, "commit", "--quiet", "--allow-empty", "--message", "a change", folder=folder)


def _head(folder: Path) -> str:
    return _did("git", "rev-parse", "--short", "HEAD", folder=folder).strip()


def test_without_a_tag_the_version_names_the_commit(checkout: Path) -> None:
    assert _version_of(checkout) == f"0.0.0+g{_head(checkout)}"


def test_a_tagged_commit_has_the_version_of_its_tag(checkout: Path) -> None:
    _did("git", "tag", "some-note", folder=checkout)
    assert _version_of(checkout).startswith("0.0.0+g")
    _did("git", "tag", "v1.2.3", folder=checkout)
    assert _version_of(checkout) == "1.2.3"
    _commit(checkout)
    assert _version_of(checkout) == f"1.2.3+1.g{_head(checkout)}"


def test_without_git_the_environment_names_the_version(tmp_path: Path) -> None:
    script = tmp_path / "packaging/release.py"
    script.parent.mkdir()
    script.write_bytes((ROOT / "packaging/release.py").read_bytes())
    assert _version_of(tmp_path) == "0.0.0"
    assert _version_of(tmp_path, RINGBACK_VERSION="1.2.3") == "1.2.3"


def test_unpacked_in_the_repository_of_someone_else_it_does_not_take_their_version(checkout: Path) -> None:
    _did("git", "tag", "v7.0.0", folder=checkout)
    script = checkout / "vendor/ringback/packaging/release.py"
    script.parent.mkdir(parents=True)
    script.write_bytes((ROOT / "packaging/release.py").read_bytes())
    assert _version_of(script.parents[1]) == "0.0.0"


# ---------------------------------------------------------------- wheel, sdist, pipx


def _contents(wheel: Path) -> dict[str, int]:
    """Return the files of a wheel with their checksums."""
    with zipfile.ZipFile(wheel) as opened:
        return {each.filename: each.CRC for each in opened.infolist()}


def test_the_wheel_of_the_sdist_is_the_wheel(tmp_path: Path) -> None:
    wheel, sdist = _built("wheel", tmp_path / "wheel"), _built("sdist", tmp_path / "sdist")
    _did("tar", "--extract", "--file", sdist, folder=tmp_path)
    (source,) = tmp_path.glob("ringback-*/")
    of_sdist = _built("wheel", tmp_path / "wheel of the sdist", source=source)
    assert of_sdist.name == wheel.name
    assert _contents(of_sdist) == _contents(wheel)


def test_pipx_installs_the_wheel_of_the_checkout_into_an_empty_environment_and_it_relays_mail(tmp_path: Path) -> None:
    places = {f"PIPX_{name}": str(tmp_path / name.lower()) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    quickly = ("--python", sys.executable, "--pip-args=--no-compile")
    _did(sys.executable, "-m", "pipx", "install", *quickly, ROOT, folder=tmp_path, **places)
    ringback = tmp_path / "bin_dir/ringback"
    assert _did(ringback, "--version", folder=tmp_path).strip() == f"ringback {_version_of(ROOT)}"
    assert "550 from address not reachable" in _did(ringback, "demo", "--once", folder=tmp_path)
    assert (tmp_path / "man_dir/man1/ringback.1").exists()


# ---------------------------------------------------------------- the lock


@cache
def _locked(name: str) -> dict[str, tuple[Requirement, int]]:
    """Return the requirements of a lock by name, each with the number of its hashes."""
    text = (ROOT / "packaging" / name).read_text()
    entries = [
        (Requirement(entry.split()[0]), entry.count("--hash=sha256:"))
        for entry in re.sub(r"\\\n\s*", " ", text).splitlines()
    ]
    return {canonicalize_name(requirement.name): (requirement, hashes) for requirement, hashes in entries}


def _needed(wanted: list[str]) -> set[str]:
    """Return the names of these requirements and of all that they need, with Debian's Python."""
    found: set[tuple[str, str]] = set()
    waiting = [(each, "") for each in wanted]
    while waiting:
        text, of_extra = waiting.pop()
        requirement = Requirement(text)
        name, marker = canonicalize_name(requirement.name), requirement.marker
        if marker is not None and not marker.evaluate({**PYTHON_OF_THE_PACKAGE, "extra": of_extra}):
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in found:
                found.add((name, extra))
                with suppress(PackageNotFoundError):  # this Python does not need it, and Debian's does
                    waiting += [(each, extra) for each in requires(name) or []]
    return {name for name, _ in found}


@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_each_entry_of_a_lock_is_one_version_with_hashes_and_no_registry_is_named(name: str) -> None:
    text = (ROOT / "packaging" / name).read_text()
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted", text)
    for requirement, hashes in _locked(name).values():
        assert [each.operator for each in requirement.specifier] == ["=="], requirement
        assert hashes, requirement


def test_the_lock_has_what_the_project_needs_in_versions_that_it_accepts() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    drivers = [each for extra in ("pgsql", "mysql") for each in project["project"]["optional-dependencies"][extra]]
    for part, name in (
        (project["project"]["dependencies"] + drivers, "requirements.txt"),
        # setuptools builds the libraries that have no wheel
        ([*project["build-system"]["requires"], "setuptools>=77"], "build-requirements.txt"),
    ):
        locked = _locked(name)
        assert _needed(list(part)) == locked.keys(), f"run: make lock  (packaging/{name})"
        for requirement in map(Requirement, part):
            (pin,) = locked[canonicalize_name(requirement.name)][0].specifier
            assert requirement.specifier.contains(pin.version), f"run: make lock  ({requirement})"


def test_the_folder_of_the_scripts_hides_no_library() -> None:
    spec = importlib.util.find_spec("packaging.requirements")
    assert spec is not None
    assert spec.origin is not None
    assert "site-packages" in spec.origin
