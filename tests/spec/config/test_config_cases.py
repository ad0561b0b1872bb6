"""Every case of this folder: a file, or a folder with `main.conf`, beside what loading it gives.

`NAME.conf` is loaded; `NAME.expected` holds what is then in force, as `ringback config show` prints it, or
`no settings`, and behind a line of dashes the diagnostics with their carets. A line `# eval WORDS` or `# get WORDS`
asks a question, whose answer follows the settings; `# client ADDRESS OPTION` asks what holds for a client.
"""

from ipaddress import ip_address
from pathlib import Path

import pytest

from config.diagnostics import render
from config.loader import load
from config.settings import Settings
from config.tools.questions import Unanswerable, evaluate, look_up
from config.tools.show import describe, show
from tests.config.sample_schema import SCHEMA

HERE = Path(__file__).parent
CASES = sorted([*HERE.glob("*.conf"), *HERE.glob("*/main.conf")])


def _name(path: Path) -> str:
    return path.parent.name if path.name == "main.conf" else path.stem


def outcome(path: Path) -> str:
    loaded = load(path, SCHEMA)
    settings = "no settings\n" if loaded.settings is None else show(loaded.settings)
    questions = [
        line[2:].split()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("# ")
    ]
    if loaded.settings is not None:
        settings += "".join(_answer(loaded.settings, *words) for words in questions)
    diagnostics = render(loaded.diagnostics)
    return f"{settings}----\n{diagnostics}" if diagnostics else settings


def _answer(settings: Settings, verb: str, *words: str) -> str:
    asked = f"? {' '.join([verb, *words])}\n"
    if verb == "client":
        address, name = words
        for listener in settings.core.esmtp_listener:
            setting = settings.for_client(listener, ip_address(address)).setting(name)
            asked += f"  {listener}: {describe(name, setting, SCHEMA.core)}\n"
        return asked
    if verb not in ("eval", "get"):
        return ""
    try:
        answer = (evaluate if verb == "eval" else look_up)(settings, words)
    except Unanswerable as wrong:
        answer = f"! {wrong}"
    return f"{asked}  {answer or 'not set here'}\n"


@pytest.mark.parametrize("path", CASES, ids=_name)
def test_a_file_gives_exactly_the_settings_and_diagnostics_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = path.with_suffix(".expected").read_text(encoding="utf-8")
    monkeypatch.chdir(path.parent)
    assert outcome(Path(path.name)) == expected


def test_there_are_enough_cases_and_none_has_lost_its_input() -> None:
    assert len(CASES) >= 60
    assert sum(_name(path).startswith("mistake_") for path in CASES) >= 25
    assert {path.with_suffix(".conf") for path in HERE.rglob("*.expected")} <= set(CASES)
