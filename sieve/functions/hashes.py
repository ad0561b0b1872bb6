"""Hashes map names to values. Variables that hold the same hash share it."""

from __future__ import annotations

from sieve.library import Hash, Value, sieve_function
from sieve.run import reasons
from sieve.run.runtime import Frame
from sieve.run.values import ScriptError, as_text, flat

_DEEPEST_DUMP = 5


@sieve_function()
def hash_create() -> Hash:
    """Return a new, empty hash. Its elements are read as `$hash["key"]`."""
    return {}


@sieve_function()
def hash_set(frame: Frame, hash_: Hash, key: str, value: Value) -> None:
    """Set an element of a hash."""
    limit = frame.settings.limits.list
    if key not in hash_ and len(hash_) >= limit:
        raise ScriptError(reasons.list_too_long(limit))
    hash_[key] = value


@sieve_function()
def hash_get(hash_: Hash, key: str) -> Value:
    """Return an element of a hash, or an empty string if the key is not set."""
    return hash_.get(key, "")


@sieve_function()
def hash_keys(hash_: Hash) -> tuple[str, ...]:
    """Return the keys of a hash, in the order they were set."""
    return tuple(hash_)


@sieve_function()
def hash_values(hash_: Hash) -> tuple[str, ...]:
    """Return the values of a hash as strings, in the order their keys were set."""
    return tuple(as_text(value) for value in hash_.values())


@sieve_function()
def hash_dump(frame: Frame, hash_: Hash) -> None:
    """Write the contents of a hash to the log, one line per element. Meant for debugging."""
    _dump(frame, hash_, "", 0)


def _dump(frame: Frame, hash_: Hash, prefix: str, depth: int) -> None:
    """Write the elements of a hash. The depth limit stops a hash that contains itself."""
    for key, value in hash_.items():
        name = f"{prefix}{flat(key)}"
        if isinstance(value, dict):
            if depth < _DEEPEST_DUMP:
                _dump(frame, value, f"{name}.", depth + 1)
        elif isinstance(value, tuple):
            frame.host.log(f"{name} = [{', '.join(flat(item) for item in value)}]")
        else:
            frame.host.log(f"{name} = {flat(as_text(value))}")
