"""Files that include files."""

import errno
import os
from pathlib import Path

import pytest

from config.diagnostics import render
from config.language import includes as files
from config.loader import Loaded, load
from tests.config.sample_schema import SCHEMA


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.conf").write_text(text, encoding="utf-8")
    return folder / "main.conf"


def printed(loaded: Loaded, folder: Path) -> str:
    return render(loaded.diagnostics).replace(f"{folder}/", "")


def test_a_main_file_that_is_not_there_is_a_diagnostic(tmp_path: Path) -> None:
    loaded = load(tmp_path / "main.conf", SCHEMA)
    assert loaded.settings is None
    assert printed(loaded, tmp_path) == "error: cannot read main.conf: No such file or directory\n"


def test_a_main_file_that_is_a_folder_is_a_diagnostic(tmp_path: Path) -> None:
    assert printed(load(tmp_path, SCHEMA), tmp_path.parent) == f"error: cannot read {tmp_path.name}: Is a directory\n"


def test_a_main_file_that_may_not_be_read_is_a_diagnostic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path = write(tmp_path, main="")
    monkeypatch.setattr("config.base.sources.read_regular", refused)  # root, as in a container, could read it
    assert printed(load(path, SCHEMA), tmp_path) == "error: cannot read main.conf: Permission denied\n"


def test_every_file_read_is_a_source_in_the_order_of_reading(tmp_path: Path) -> None:
    path = write(tmp_path, main='include "a.conf"\ninclude "b.conf"\n', a="", b="")
    assert [source.name for source in load(path, SCHEMA).sources] == [
        str(tmp_path / name) for name in ("main.conf", "a.conf", "b.conf")
    ]


def test_an_include_is_looked_for_beside_its_file_first_and_then_in_the_search_folders(tmp_path: Path) -> None:
    beside, site = tmp_path / "beside", tmp_path / "site"
    beside.mkdir()
    site.mkdir()
    path = write(beside, main='include "one.conf"\ninclude "two.conf"\n', one="Hostname = beside")
    write(site, one="Hostname = site", two="Gateway = site")
    loaded = load(path, SCHEMA, search=(site,))
    assert loaded.settings is not None
    assert str(loaded.settings.core_origin("hostname")) == f"{beside / 'one.conf'}:1:12"
    assert str(loaded.settings.core_origin("gateway")) == f"{site / 'two.conf'}:1:11"


def test_an_include_that_is_nowhere_says_where_it_was_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path, main='include "one.conf"\n')
    assert printed(load(path, SCHEMA, search=(tmp_path / "site",)), tmp_path) == (
        "main.conf:1:9: error: cannot read one.conf: No such file or directory\n"
        '    1 | include "one.conf"\n'
        "      |         ^~~~~~~~~~\n"
        "  hint: looked for one.conf, site/one.conf\n"
    )


def test_a_file_that_includes_itself_is_reported_with_the_chain(tmp_path: Path) -> None:
    path = write(tmp_path, main='Hostname = a\ninclude "./main.conf"\n')
    assert printed(load(path, SCHEMA), tmp_path) == (
        "main.conf:2:9: error: this file includes itself: main.conf > main.conf\n"
        '    2 | include "./main.conf"\n'
        "      |         ^~~~~~~~~~~~~\n"
        "  hint: remove one of the includes\n"
    )


def test_files_of_a_folder_may_be_included_by_each_other_without_being_a_cycle(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    write(folder, a='include "b.conf"\n', b="Hostname = b\n")
    loaded = load(write(tmp_path, main='include "conf.d"\n'), SCHEMA)
    assert loaded.settings is not None
    assert loaded.diagnostics == ()


def test_includes_that_double_at_every_level_end_at_a_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FILES", 20)
    texts = {f"f{number}": f'include "f{number + 1}.conf"\ninclude "f{number + 1}.conf"\n' for number in range(30)}
    path = write(tmp_path, main='include "f0.conf"\n', f30="", **texts)
    loaded = load(path, SCHEMA)
    assert len(loaded.sources) == 20
    assert {found.message for found in loaded.diagnostics} == {
        "more than 20 files are included; this one and what follows are not read"
    }


def test_a_chain_of_many_files_costs_no_recursion(tmp_path: Path) -> None:
    texts = {f"f{number}": f'include "f{number + 1}.conf"\n' for number in range(900)}
    loaded = load(write(tmp_path, main='include "f0.conf"\n', f900="Hostname = last\n", **texts), SCHEMA)
    assert loaded.settings is not None
    assert len(loaded.sources) == 902


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 10)
    path = write(tmp_path, main="Hostname = a.example.com\n")
    assert printed(load(path, SCHEMA), tmp_path) == "error: main.conf has 25 bytes; the limit is 10\n"


def test_all_files_together_have_a_bound_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_IN_ALL", 40)
    path = write(tmp_path, main='include "a.conf"\ninclude "a.conf"\n', a="Alias_Schemes = ( )\n")
    loaded = load(path, SCHEMA)
    assert [found.message.replace(f"{tmp_path}/", "") for found in loaded.diagnostics] == [
        "a.conf has 20 bytes; the limit is 6",
        "a.conf has 20 bytes; the limit is 6",
    ]


def test_a_device_or_a_name_that_no_file_can_have_is_not_included(tmp_path: Path) -> None:
    path = write(tmp_path, main='include "/dev/zero"\ninclude "a\0b"\ninclude "' + "/x" * 3000 + '"\n')
    assert [found.message for found in load(path, SCHEMA).diagnostics] == [
        "cannot read /dev/zero: it is neither a file nor a folder",
        "cannot read a\0b: no path holds a zero byte",
        f"cannot read {'/x' * 100}…: File name too long",
    ]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "main.conf"
    path.write_bytes(b"\xef\xbb\xbfHostname = a\n")
    loaded = load(path, SCHEMA)
    assert loaded.settings is not None
    assert str(loaded.settings.core_origin("hostname")) == f"{path}:1:12"
