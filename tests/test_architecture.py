"""The house: how deep imports go, what is circular, and that the contracts of import-linter hold what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

PACKAGES = ("config", "sieve", "proxy")
ROOT = Path(__file__).parents[1]
LONGEST_CHAIN = 15
"""Modules from `python -m proxy.cli` down to one that imports nothing of ours."""

Imports = dict[str, set[str]]


@pytest.fixture(scope="module")
def imports() -> Imports:
    """Every module with what it imports of ours, inside functions too."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def circles(imports: Imports) -> list[frozenset[str]]:
    """Return the modules in groups that import each other, each group after all that it imports (Tarjan)."""
    found: list[frozenset[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_ones: list[str] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        open_ones.append(module)
        for imported in sorted(imports[module]):
            if imported not in number:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in open_ones:
                lowest[module] = min(lowest[module], number[imported])
        if lowest[module] == number[module]:
            at = open_ones.index(module)
            found.append(frozenset(open_ones[at:]))
            del open_ones[at:]

    for module in sorted(imports):
        if module not in number:
            visit(module)
    return found


def longest_chain(imports: Imports) -> list[frozenset[str]]:
    """Return the longest chain of imports from the top down, where modules that import each other count as one."""
    chains: dict[frozenset[str], list[frozenset[str]]] = {}
    for group in circles(imports):
        below = [chains[other] for other in chains if any(imports[each] & other for each in group)]
        chains[group] = [group, *max(below, key=len, default=[])]
    return max(chains.values(), key=len)


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_a_chain_counts_modules_that_import_each_other_as_one() -> None:
    imports = {"a": {"b"}, "b": {"c", "d"}, "c": {"b"}, "d": set(), "e": {"d"}}
    assert longest_chain(imports) == [frozenset("a"), frozenset("bc"), frozenset("d")]


def test_the_longest_import_chain_is_short(imports: Imports, capsys: pytest.CaptureFixture[str]) -> None:
    chain = longest_chain(imports)
    with capsys.disabled():
        sys.stdout.write(f"\nthe longest import chain has {len(chain)} modules:\n")
        sys.stdout.writelines(f"  {' '.join(sorted(each))}\n" for each in chain)
    assert len(chain) <= LONGEST_CHAIN


def test_nothing_is_circular_but_inside_one_room(imports: Imports) -> None:
    assert [sorted(each) for each in circles(imports) if len({room(module) for module in each}) > 1] == []
    rooms: Imports = {}
    for module, imported in imports.items():
        rooms.setdefault(room(module), set()).update(other for other in map(room, imported) if other != room(module))
    assert [sorted(each) for each in circles(rooms) if len(each) > 1] == []


PLANTED = [
    ("sieve/check/checker.py", "from config.schema.readers import Reader", "sieve sees only config.diagnostics"),
    ("sieve/words.py", "from config import Settings", "sieve sees only config.diagnostics"),
    (
        "proxy/modules/mail_loop/module.py",
        "from proxy.modules.smtp_cbv.options import SPEC as OTHER",
        "validation modules never import each other",
    ),
    (
        "proxy/modules/newcomer/module.py",
        "from proxy.modules.smtp_cbv import module",
        "validation modules never import each other",
    ),
    ("proxy/stray.py", "", "proxy: imports go down only"),
    ("proxy/newroom/__init__.py", "", "proxy: imports go down only"),
    ("sieve/stray.py", "", "sieve: imports go down only"),
    ("config/stray.py", "", "config: imports go down only"),
    ("proxy/mail/folding.py", "from proxy.smtp.connection import Connection", "proxy: imports go down only"),
    ("config/base/ip.py", "from sieve import phases", "config imports neither"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source to plant violations in."""
    folder = tmp_path_factory.mktemp("house")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken(folder: Path) -> list[str]:
    """Return the names of the contracts that are broken, by lint-imports."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    contracts = re.findall(r"^(.+) BROKEN\b", done.stdout, re.MULTILINE)
    assert (done.returncode == 0) == (not contracts), done.stdout + done.stderr
    return contracts


def test_the_contracts_are_kept(copy: Path) -> None:
    assert broken(copy) == []


@pytest.mark.parametrize(
    ("file", "line", "contract"), PLANTED, ids=[f"{file}: {line}".replace(" ", "_") for file, line, _ in PLANTED]
)
def test_a_planted_import_breaks_its_contract(copy: Path, file: str, line: str, contract: str) -> None:
    planted = copy / file
    before = planted.read_text() if planted.exists() else None
    planted.parent.mkdir(exist_ok=True)
    (planted.parent / "__init__.py").touch()
    planted.write_text(f"{before or ''}\n{line}\n")
    try:
        assert [name for name in broken(copy) if contract in name]
    finally:
        if before is not None:
            planted.write_text(before)
        elif planted.parent.name in {"newcomer", "newroom"}:
            shutil.rmtree(planted.parent)
        else:
            planted.unlink()


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_values_of_a_script_load_neither_pydantic_nor_the_configurations_schema() -> None:
    loaded = loaded_by("import sieve.run.values")
    assert "sieve.run.values" in loaded
    heavy = ("pydantic", "config.loader", "config.schema", "config.language", "config.errors")
    assert sorted(each for each in loaded if each.startswith(heavy)) == []


@pytest.mark.parametrize("package", ["config", "sieve"])
def test_a_facade_loads_nothing_until_a_name_is_used(package: str) -> None:
    ours = {each for each in loaded_by(f"import {package}") if each.partition(".")[0] in PACKAGES}
    assert ours == {package, "config", "config.base", "config.base.facade"}
