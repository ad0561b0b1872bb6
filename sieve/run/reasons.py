"""The wording of run-time errors: the reason that stands in the log beside the script's name and line."""

from __future__ import annotations

from collections.abc import Iterable

from sieve.words import listed


def too_many_steps(limit: int) -> str:
    """The step budget is spent."""
    return f"the script ran more than {limit} statements"


def too_slow(seconds: float) -> str:
    """The wall clock ran out."""
    return f"the script ran longer than {seconds:g} s"


def not_numeric(text: str) -> str:
    """A value where a number is wanted."""
    return f'"{text[:80]}" is not a number'


def not_a_hash() -> str:
    """A value where a hash is wanted."""
    return "this is no hash"


def not_a_reply_code(code: object) -> str:
    """A code that no SMTP reply can have."""
    return f"{code} is not an SMTP reply code from 200 to 599"


def string_too_long(limit: int) -> str:
    """A string passes its bound."""
    return f"a string is longer than {limit} characters"


def list_too_long(limit: int) -> str:
    """A list or hash passes its bound."""
    return f"a list has more than {limit} elements"


def division_by_zero(function: str) -> str:
    """A divisor is zero."""
    return f"division by zero in {function}"


def number_out_of_range(function: str) -> str:
    """A result that no number can hold."""
    return f"the result of {function} is out of range"


def must_be_positive(function: str) -> str:
    """A bound below one."""
    return f"{function} wants a number above 0"


def empty_delimiter() -> str:
    """Cutting at nothing."""
    return "the delimiter is empty"


def unknown_charset(charset: str) -> str:
    """A character set nobody knows."""
    return f'"{charset[:40]}" is no character set'


def not_a_field_name(name: str) -> str:
    """A header field's name with a blank, a colon or worse."""
    return f"{name[:80]!r} is not the name of a header field"


def not_an_address(address: str) -> str:
    """Text that cannot be a mail address."""
    return f"{address[:80]!r} is not a mail address"


def too_many_recipients(most: int) -> str:
    """A message to more than one call may have."""
    return f"more than {most} recipients"


def unknown_metadata(name: str) -> str:
    """A property that parts do not have."""
    return f"{name[:40]!r} is not known of a part; filename and content-type are"


def unknown_record(record: str, known: Iterable[str]) -> str:
    """A record type that is not looked up."""
    return f"{record[:40]!r} is not looked up; one of {listed(known, 'or')}"


def not_a_nameserver(server: str) -> str:
    """A name server that no question can be sent to."""
    return f"{server[:80]!r} is no IP address; write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"


def not_a_capability(text: str) -> str:
    """Text that no line of an EHLO reply can be."""
    return f"{text[:80]!r} is not an EHLO capability"


def not_a_gateway(text: str) -> str:
    """Text that names no host."""
    return f"{text[:80]!r} is not an address or a host name"


def bad_config_action(action: str) -> str:
    """`ec_config` with something else than a look."""
    return f'ec_config {action[:40]!r}: only "get" and "eval" are known, followed by the option'


def foreign_path(text: str) -> str:
    """A path with text of a session or a message that would lead to another folder."""
    return f"a path takes neither `/` nor `..` from a session or a message: {text[:80]!r}; write them in the script"


def not_a_log_file(uri: str) -> str:
    """A path that is not absolute, or a scheme."""
    return f"{uri[:80]!r} is not the absolute path of a file"


def unknown_error_mode(mode: str) -> str:
    """`ec_error_mode` with a third mode."""
    return f'{mode[:40]!r} is not an error mode; "fail" and "continue" are'


def no_such_storage(uri: str) -> str:
    """A script in a storage that we do not have."""
    return f"scripts are included from files only, not from {uri[:80]!r}"


def cannot_include(where: str, reason: str) -> str:
    """A script that cannot be read or has errors."""
    return f"cannot include {where[:200]}: {reason}"


def no_includes() -> str:
    """Nothing to include from."""
    return "no scripts can be included here"


def includes_too_deep(limit: int) -> str:
    """Includes inside each other beyond the bound."""
    return f"more than {limit} scripts include each other"


def pattern_too_long(limit: int) -> str:
    """A pattern passes its bound."""
    return f"longer than {limit} characters"


def pattern_too_slow(seconds: float) -> str:
    """A match passed its time limit."""
    return f"a regular expression ran longer than {seconds:g} s"


def not_a_pattern(reason: str) -> str:
    """A pattern known only at run time that no engine takes."""
    return f"not a regular expression: {reason}"


def not_a_zone(text: str) -> str:
    """A time zone that is not like +0100."""
    return f"{text[:20]!r} is not a time zone such as +0100"


def unknown_date_part(name: str, known: Iterable[str]) -> str:
    """A part that dates do not have."""
    return f"{name[:20]!r} is not a part of a date; one of {listed(known, 'or')}"


def not_a_variable_name(name: str) -> str:
    """Text that no variable can be called."""
    return f"{name[:40]!r} is not the name of a variable"
