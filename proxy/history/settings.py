"""What a configuration says about the history."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from config.base.regular_files import read_regular
from proxy.history.addresses import Addresses, key_from
from proxy.options.core import CoreOptions

_KEY_FILE = "history.key"
_KEY_OCTETS = 32
_PRIVATE = 0o600


def is_on(core: CoreOptions) -> bool:
    """Return whether there is a history: as configured, else whether its folder can be written."""
    folder = core.state_directory
    return core.history if core.history is not None else folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """Where the history is, what it keeps, and how long."""

    folder: Path
    on: bool
    hashed: bool
    secret: Path | None
    """The callbacks' `store_secret`; if it is not set, hashes have a key that is made in the folder."""
    retention: float
    most_octets: int

    @classmethod
    def of(cls, core: CoreOptions, secret: Path | None) -> HistorySettings:
        """Take the options; without History, it is on if the folder can be written."""
        hashed = core.history_addresses == "hashed" or (core.history_addresses is None and secret is not None)
        return cls(core.state_directory, is_on(core), hashed, secret, core.history_retention, core.history_size)

    def addresses(self, *, create: bool = False) -> Addresses:
        """Return how addresses are kept. Only the server creates a key.

        Raises:
            OSError: the key cannot be read, or not be created.
        """
        if not self.hashed:
            return Addresses()
        if self.secret is not None:
            return Addresses(key_from(read_regular(self.secret).strip()))
        file = self.folder / _KEY_FILE
        if create and not file.exists():
            _make_key(file)
        key = read_regular(file)
        if len(key) < _KEY_OCTETS:
            raise OSError(f"{file} has {len(key)} octets, not {_KEY_OCTETS}: remove it, and a new key is made")
        return Addresses(key_from(key))


def _make_key(file: Path) -> None:
    """Make a key. It gets its name when it is whole: a full disk would leave one that everybody knows.

    Raises:
        OSError: it cannot be written.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _PRIVATE)
    try:
        try:
            os.write(descriptor, secrets.token_bytes(_KEY_OCTETS))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):  # another process was first
            os.link(new, file)
    finally:
        new.unlink(missing_ok=True)
