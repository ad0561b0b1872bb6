"""python: what is wrong with a handler is a diagnostic at its option, and no file that others may write is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.diagnostics import Diagnostic, render
from proxy import app
from proxy.modules.python import loading as loading_module
from proxy.modules.python.loading import HandlerUnusable, load
from tests.support.handlers import handler, loading

GOOD = "async def handle_NOOP(self, server, session, envelope, argument):\n    return '250 OK'"


def wrong(folder: Path, named: str, *options: str, path: str | None = "python") -> Diagnostic:
    """Return the one error of a configuration."""
    with pytest.raises(app.ConfigurationRejected) as rejected:
        app.load(loading(folder, 1, named, *options, path=path).write())
    (found,) = rejected.value.diagnostics
    return found


def test_a_handler_is_loaded(tmp_path: Path) -> None:
    _, warnings = app.load(loading(tmp_path, 1, handler(tmp_path, GOOD)).write())
    assert warnings == ()


@pytest.mark.parametrize(
    "named", ["", "site", "site:", ":Site", "site.Site", "site Site", "../site:Site", "1:A", "a:b:c"], ids=repr
)
def test_a_name_of_another_form_is_an_error(named: str, tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    found = wrong(tmp_path, named)
    assert found.message == f"site: `{named}` does not name a class"
    assert found.hint == "write it as package.module:Class"


@pytest.mark.parametrize(
    ("before", "methods", "message"),
    [
        ("import no_such_module_at_all", "", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("1/0", "", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "", "SystemExit: 3"),
        ("def (", "", "SyntaxError: "),
        ("", "def __init__(self, needed):\n    pass", "missing 1 required positional argument: 'needed'"),
        ("", "def __init__(self):\n    raise OSError('no database')", "OSError: no database"),
        ("", "def __init__(self):\n    raise SystemExit", "SystemExit"),
        ("", "handle_MAIL = 3", "handle_MAIL is not a function"),
        ("", "def handle_EHLO(self, server):\n    pass", "handle_EHLO has 1 parameters"),
        ("", "def auth_bad(self, server, words):\n    pass", "auth_bad does not name a mechanism"),
    ],
)
def test_what_cannot_be_imported_or_made_is_an_error_with_line_caret_and_hint(
    before: str, methods: str, message: str, tmp_path: Path
) -> None:
    named = handler(tmp_path, methods, before=before)
    found = wrong(tmp_path, named)
    assert message in found.message
    line, source, caret, hint = render([found]).splitlines()[:4]
    assert line.startswith(f"{tmp_path / 'ecelerity.conf'}:7:")
    assert named in source
    assert "^" in caret
    assert hint.strip()


def test_the_line_of_the_sites_code_is_named(tmp_path: Path) -> None:
    named = handler(tmp_path, "", before="\n\n1/0")
    assert f"{named.partition(':')[0]}.py, line 3)" in wrong(tmp_path, named).message


def test_a_module_or_class_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    named = handler(tmp_path, GOOD)
    module = named.partition(":")[0]
    assert wrong(tmp_path, "no_such_site:Site").message == "site: there is no module no_such_site"
    assert wrong(tmp_path, f"{module}.deeper:Site").message == f"site: there is no module {module}.deeper"
    found = wrong(tmp_path, f"{module}:Sight")
    assert (found.message, found.hint) == (f"site: {module} has no `Sight`", "did you mean `Site`?")
    assert wrong(tmp_path, f"{module}:__name__").message == "site: `__name__` is not a class"


def test_a_folder_that_does_not_exist_is_an_error_at_path(tmp_path: Path) -> None:
    found = wrong(tmp_path, "a:B", path="nowhere")
    assert found.message == f"site: {tmp_path / 'nowhere'} is not a folder"
    assert found.span is not None
    assert found.span.text.strip('"').endswith("nowhere")


def test_a_module_of_the_folder_never_hides_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "mailbox.py").write_text("class Site: pass\n")
    found = wrong(tmp_path, "mailbox:Site")
    assert found.message.startswith("site: mailbox is loaded from ")


@pytest.mark.parametrize(
    ("mode", "place", "who"),
    [
        (0o777, "python", "every user"),
        (0o775, "python", "its group"),
        (0o1777, "python", "every user"),
        (0o666, "python/{module}.py", "every user"),
        (0o664, "python/{module}.py", "its group"),
        (0o775, "python/package", "its group"),
        (0o664, "python/package/part.py", "its group"),
        (0o664, "python/package/part.pyc", "its group"),
        (0o777, ".", "every user"),
        (0o770, ".", "its group"),
    ],
)
def test_what_others_may_write_is_refused_and_not_run(mode: int, place: str, who: str, tmp_path: Path) -> None:
    folder = tmp_path / "above"
    folder.mkdir()
    named = handler(folder, GOOD, before="raise SystemExit('it ran')")
    package = folder / "python" / "package"
    package.mkdir()
    package.chmod(0o755)
    for name in ("part.py", "part.pyc"):
        (package / name).touch()
        (package / name).chmod(0o644)
    refused = folder / place.format(module=named.partition(":")[0])
    refused.chmod(mode)
    found = wrong(folder, named)
    assert found.message == f"site: {who} may write to {refused.resolve()}"
    assert found.hint is not None
    assert found.hint.startswith("chmod go-w ")


def test_a_folder_above_with_the_sticky_bit_is_safe(tmp_path: Path) -> None:
    folder = tmp_path / "above"
    folder.mkdir()
    folder.chmod(0o1777)
    app.load(loading(folder, 1, handler(folder, GOOD)).write())


def test_data_that_others_may_write_is_no_code(tmp_path: Path) -> None:
    named = handler(tmp_path, GOOD)
    data = tmp_path / "python" / "list.txt"
    data.touch()
    data.chmod(0o666)
    app.load(loading(tmp_path, 1, named).write())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("place", ["python", "python/{module}.py", "."])
def test_what_belongs_to_another_user_is_refused(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "above"
    folder.mkdir()
    named = handler(folder, GOOD)
    given = folder / place.format(module=named.partition(":")[0])
    os.chown(given, 12345, 0)
    found = wrong(folder, named)
    assert found.message == f"site: {given.resolve()} belongs to user 12345"


def test_a_link_is_as_safe_as_what_it_leads_to(tmp_path: Path) -> None:
    named = handler(tmp_path, GOOD)
    (tmp_path / "linked").symlink_to("python")
    app.load(loading(tmp_path, 1, named, path="linked").write())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    (elsewhere / "part.py").touch(0o644)
    (tmp_path / "python" / "part.py").symlink_to(elsewhere / "part.py")
    assert wrong(tmp_path, named).message == f"site: every user may write to {elsewhere}"


def test_a_module_of_another_folder_is_looked_at_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = handler(tmp_path, GOOD)
    monkeypatch.syspath_prepend(tmp_path / "python")
    app.load(loading(tmp_path, 1, named, path=None).write())
    another = handler(tmp_path, GOOD, before="raise SystemExit('it ran')")
    (tmp_path / "python").chmod(0o777)
    assert wrong(tmp_path, another, path=None).message == f"site: every user may write to {tmp_path / 'python'}"


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading_module, "MOST_FILES", 3)
    named = handler(tmp_path, GOOD)
    for number in range(3):
        (tmp_path / "python" / f"{number}.txt").touch()
    with pytest.raises(HandlerUnusable, match="more than 3 files"):
        load(named, tmp_path / "python")


def test_nothing_is_written(tmp_path: Path) -> None:
    app.load(loading(tmp_path, 1, handler(tmp_path, GOOD)).write())
    assert not (tmp_path / "python" / "__pycache__").exists()


def test_hooks_that_are_never_called_are_warnings(tmp_path: Path) -> None:
    methods = "async def handle_QUIT(self, server, session, envelope):\n    return '221 bye'"
    _, warnings = app.load(loading(tmp_path, 1, handler(tmp_path, methods)).write())
    assert [each.message for each in warnings] == ["handle_QUIT is never called", "the handler has no hook"]


def test_the_supervisor_does_not_import_the_handler(tmp_path: Path) -> None:
    named = handler(tmp_path, GOOD)
    made = loading(tmp_path, 1, named).write()
    assembly, _ = app.compiled(made)
    assert named.partition(":")[0] not in sys.modules
    assert assembly.prepared


def test_check_reports_it_and_exits_78(tmp_path: Path) -> None:
    made = loading(tmp_path, 1, handler(tmp_path, GOOD, before="1/0")).write()
    command = [Path(sys.executable).parent / "ringback", "check", str(made)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    assert "ZeroDivisionError" in ended.stdout + ended.stderr
