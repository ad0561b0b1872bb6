"""Imports a handler and makes it, but never from files that other users may change.

The import runs the site's code, so it happens in the rehearsal's child and in workers, never in the supervisor.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import os
import pwd
import re
import stat
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

_SPECIFICATION = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")

MOST_FILES = 10_000
"""Files below the folder that are looked at. More than that is not a folder of handlers."""

_CODE = tuple(importlib.machinery.all_suffixes())
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class HandlerUnusable(Exception):
    """The handler cannot be loaded. `hint` says what to do; `option` names the option that is wrong."""

    def __init__(self, problem: str, hint: str, option: str = "handler") -> None:
        """Keep all three."""
        super().__init__(problem)
        self.hint, self.option = hint, option


def load(specification: str, folder: Path | None) -> object:
    """Import the handler's module and return the handler.

    Raises:
        HandlerUnusable: its files are not safe, or it cannot be imported or made.
    """
    match = _SPECIFICATION.fullmatch(specification)
    if match is None:
        raise HandlerUnusable(f"`{specification}` does not name a class", "write it as package.module:Class")
    module_name, names = match[1], match[2]
    if folder is not None:
        _check_folder(folder)
    _check_module(module_name.partition(".")[0], folder)
    module = _imported(module_name, folder)
    made = _found(module, names)
    if not callable(made):
        raise HandlerUnusable(f"`{names}` is not a class", "write it as package.module:Class")
    try:
        return made()
    except (Exception, SystemExit) as error:
        hint = f"Ringback calls {names}() without arguments; a subclass can pass them to its base class"
        raise HandlerUnusable(f"cannot make a {names}: {_told(error)}", hint) from error


def _imported(name: str, folder: Path | None) -> ModuleType:
    """Import the module; the folder comes last in the search path, so it hides no installed package."""
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # `check` writes nothing
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            place = f"put it into {folder}" if folder is not None else "set path to the folder of its file"
            raise HandlerUnusable(f"there is no module {error.name}", f"{place}, or install it") from error
        raise HandlerUnusable(f"cannot import {name}: {_told(error)}", "install the module that it imports") from error
    except (Exception, SystemExit) as error:
        raise HandlerUnusable(f"cannot import {name}: {_told(error)}", "correct the module and try again") from error
    finally:
        sys.dont_write_bytecode = writes
    top = sys.modules[name.partition(".")[0]]
    if folder is not None and _in_folder(folder, top.__name__) and not _is_below(top, folder):
        found = getattr(top, "__file__", None) or "another folder"
        hint = "give the module a name that no other module has"
        raise HandlerUnusable(f"{top.__name__} is loaded from {found}, not from {folder}", hint)
    return module


def _found(module: ModuleType, names: str) -> object:
    """Return what is named in the module."""
    holder: object = module
    for name in names.split("."):
        try:
            holder = getattr(holder, name)
        except AttributeError:
            near = difflib.get_close_matches(name, vars(holder), 1)
            hint = f"did you mean `{near[0]}`?" if near else f"name a class that {module.__name__} defines"
            raise HandlerUnusable(f"{module.__name__} has no `{names}`", hint) from None
    return holder


def _told(error: BaseException) -> str:
    """Return what went wrong, and in which line of the site's code."""
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return text
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not _is_ours(each.filename)]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def _is_ours(file: str) -> bool:
    return file.startswith("<frozen") or file in {__file__, importlib.__file__}


# ---------------------------------------------------------------- files


def _check_folder(folder: Path) -> None:
    """Refuse a folder if others could change what is imported from it."""
    try:
        if not folder.is_dir():
            raise HandlerUnusable(f"{folder} is not a folder", "name the folder of the handler's modules", "path")
        _check_places(folder, "path")
        for entry in _code_below(folder):
            _check_places(entry, "path", below=folder)
    except OSError as error:
        hint = "the user who runs Ringback must be able to read the folder and its files"
        raise HandlerUnusable(f"cannot read {error.filename}: {error.strerror}", hint, "path") from error


def _check_module(top: str, folder: Path | None) -> None:
    """Refuse a module of another folder in sys.path, if others could change it. Installed packages are trusted."""
    if folder is not None and _in_folder(folder, top):
        return
    found = importlib.machinery.PathFinder.find_spec(top)
    if found is None or found.origin is None or not found.has_location or _is_installed(Path(found.origin)):
        return
    places = [Path(found.origin)]
    for package in found.submodule_search_locations or ():
        places += _code_below(Path(package))
    for place in places:
        _check_places(place, "handler")


def _code_below(folder: Path) -> Iterator[Path]:
    """Yield each folder and each module below a folder."""
    seen = 0
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            seen += 1
            if seen > MOST_FILES:
                hint = "use a folder that only has the handler's modules"
                raise HandlerUnusable(f"{folder} has more than {MOST_FILES:,} files", hint, "path")
            if name in folders or name.endswith(_CODE):
                yield Path(root, name)


def _check_places(path: Path, option: str, below: Path | None = None) -> None:
    """Refuse a path that other users can change, or replace by moving a folder above it.

    The folders above `below` have been checked. In a folder with the sticky bit, like /tmp, others can move nothing.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 — Path.absolute keeps `..`
    places = {absolute: None, path.resolve(): None}
    if below is None or path.is_symlink():
        places |= dict.fromkeys([*absolute.parents, *path.resolve().parents])
    for place in places:
        status = place.stat()
        if status.st_uid not in {0, os.geteuid()}:
            hint = f"chown it to root: its owner can change what Ringback runs; Ringback runs as {_user(os.geteuid())}"
            raise HandlerUnusable(f"{place} belongs to {_user(status.st_uid)}", hint, option)
        sticky = status.st_mode & stat.S_ISVTX and place not in {absolute, path.resolve()}
        if status.st_mode & _OTHERS_WRITE and not sticky:
            who = "every user" if status.st_mode & stat.S_IWOTH else "its group"
            hint = f"chmod go-w {place}: who can write there decides what Ringback runs"
            raise HandlerUnusable(f"{who} may write to {place}", hint, option)


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _in_folder(folder: Path, top: str) -> bool:
    return (folder / top).is_dir() or any((folder / f"{top}{suffix}").exists() for suffix in _CODE)


def _is_below(module: ModuleType, folder: Path) -> bool:
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return any(place and Path(place).resolve().is_relative_to(folder.resolve()) for place in places)


def _is_installed(file: Path) -> bool:
    """Whether a file is where Python and installed packages are: anyone who can change those can change Ringback."""
    kept = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return any(file.is_relative_to(place) for place in kept)
