"""The texts of run-time errors: the reason that the log shows after the script's name and line."""

from __future__ import annotations

from collections.abc import Iterable

from sieve.words import listed


def too_many_steps(limit: int) -> str:
    """The run exceeds its limit of statements."""
    return f"the script ran more than {limit} statements"


def unknown_signing_key(key: str, known: Iterable[str]) -> str:
    """A key of `ec_dkim_sign` that it does not know."""
    return f'"{key[:80]}" is not a key of ec_dkim_sign; write {listed(known)}'


def bad_signing_value(key: str, value: str) -> str:
    """A value of `ec_dkim_sign` that cannot be used, or a missing one."""
    return f'{key} "{value[:80]}" cannot be used to sign' if value else f"ec_dkim_sign needs {key}"


def unreadable_signing_key(place: str, problem: str) -> str:
    """A private key that cannot be used."""
    return f"the key in {place[:200]} cannot be used: {problem}"


def too_slow(seconds: float) -> str:
    """The run exceeds its time limit."""
    return f"the script ran longer than {seconds:g} s"


def not_numeric(text: str) -> str:
    """A value that is not a number."""
    return f'"{text[:80]}" is not a number'


def not_a_hash() -> str:
    """A value that is not a hash."""
    return "the value is not a hash"


def not_a_reply_code(code: object) -> str:
    """A number that is not an SMTP reply code."""
    return f"{code} is not an SMTP reply code from 200 to 599"


def string_too_long(limit: int) -> str:
    """A string exceeds its limit."""
    return f"a string is longer than {limit} characters"


def list_too_long(limit: int) -> str:
    """A list or hash exceeds its limit."""
    return f"a list has more than {limit} elements"


def division_by_zero(function: str) -> str:
    """A divisor is zero."""
    return f"division by zero in {function}"


def number_out_of_range(function: str) -> str:
    """A result that is not a finite number."""
    return f"the result of {function} is out of range"


def must_be_positive(function: str) -> str:
    """An argument below 1."""
    return f"{function} needs a number above 0"


def empty_delimiter() -> str:
    """An empty delimiter."""
    return "the delimiter is empty"


def unknown_charset(charset: str) -> str:
    """An unknown character set."""
    return f'"{charset[:40]}" is not a character set'


def not_a_field_name(name: str) -> str:
    """Text that cannot be the name of a header field."""
    return f"{name[:80]!r} is not a header field name"


def not_an_address(address: str) -> str:
    """Text that cannot be a mail address."""
    return f"{address[:80]!r} is not a mail address"


def too_many_recipients(most: int) -> str:
    """A call with too many recipients."""
    return f"more than {most} recipients"


def unknown_metadata(name: str) -> str:
    """An unknown property of a MIME part."""
    return f"{name[:40]!r} is not a property of a part; use filename or content-type"


def unknown_record(record: str, known: Iterable[str]) -> str:
    """An unsupported DNS record type."""
    return f"unsupported record type {record[:40]!r}; use {listed(known, 'or')}"


STORE_IS_DOWN = "the store of counters does not answer"


def unknown_greylist(name: str, known: Iterable[str]) -> str:
    """A stanza that is not loaded."""
    loaded = listed(sorted(known), "and") or "none"
    return f"there is no greylist {name[:40]!r}; loaded: {loaded}"


def not_a_nameserver(server: str) -> str:
    """Text that is not the address of a name server."""
    return f"{server[:80]!r} is not an IP address; write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"


def not_an_ip_address(text: str) -> str:
    """Text that is not an IP address."""
    return f"{text[:80]!r} is not an IP address; write 192.0.2.1 or 2001:db8::1"


def unknown_list(name: str) -> str:
    """A list that is not defined."""
    return f"there is no list {name[:64]!r}; define it with define_cidr, or name it in Client_Lists"


def too_many_lists(most: int) -> str:
    """A definition beyond the limit."""
    return f"there are already {most} lists; define fewer"


def not_a_capability(text: str) -> str:
    """Text that cannot be a line of an EHLO reply."""
    return f"{text[:80]!r} is not an EHLO capability"


def unknown_binding(what: str, name: str) -> str:
    """A binding or a group that the configuration does not have, or a group without bindings."""
    return f"there is no {what} {name[:64]!r}, so the binding is unchanged"


def not_a_gateway(text: str) -> str:
    """Text that is neither an address nor a host name."""
    return f"{text[:80]!r} is not an address or a host name"


def bad_config_action(action: str) -> str:
    """`ec_config` with an unknown action or without an option."""
    return f'ec_config {action[:40]!r}: write "get" or "eval", then the option'


def foreign_path(text: str) -> str:
    """Text from the session or the message that would change the folder of a path."""
    return f"`/` and `..` in a path cannot come from the session or the message; put them in the script: {text[:80]!r}"


def not_a_log_file(uri: str) -> str:
    """A relative path, or a URI with a scheme."""
    return f"{uri[:80]!r} is not an absolute file path"


def unknown_error_mode(mode: str) -> str:
    """`ec_error_mode` with an unknown mode."""
    return f'{mode[:40]!r} is not an error mode; use "fail" or "continue"'


def no_such_storage(uri: str) -> str:
    """An include from a storage that Ringback does not have."""
    return f"scripts can only be included from files, not from {uri[:80]!r}"


def cannot_include(where: str, reason: str) -> str:
    """An included script that cannot be read or has errors."""
    return f"cannot include {where[:200]}: {reason}"


def no_includes() -> str:
    """An include in a context without includes."""
    return "no scripts can be included here"


def includes_too_deep(limit: int) -> str:
    """Nested includes exceed the limit."""
    return f"more than {limit} nested includes"


def pattern_too_long(limit: int) -> str:
    """A pattern exceeds its length limit."""
    return f"longer than {limit} characters"


def pattern_too_slow(seconds: float) -> str:
    """A match exceeds its time limit."""
    return f"a regular expression ran longer than {seconds:g} s"


def not_a_pattern(reason: str) -> str:
    """A pattern, known only at run time, that neither engine accepts."""
    return f"not a regular expression: {reason}"


def second_refusal() -> str:
    """A second `reject` in one run (RFC 5429, 2.4)."""
    return "the message has already been rejected"


def not_a_script_name(name: str) -> str:
    """A name that no script can have."""
    return f"{name[:80]!r} is not the name of a script"


def recursive_include(name: str) -> str:
    """A script that includes itself (RFC 6609, 3.1)."""
    return f"{name[:80]!r} includes itself"


def no_mailbox() -> str:
    """`fileinto ""`."""
    return "the name of the mailbox is empty"


def not_utf_8(text: str) -> str:
    """Text with bytes that are not UTF-8."""
    return f"{text[:80]!r} is not UTF-8"


def not_a_field_body(text: str) -> str:
    """Text with control characters."""
    return f"{text[:80]!r} has control characters"


def not_a_zone(text: str) -> str:
    """A time zone that is not like +0100."""
    return f"{text[:20]!r} is not a time zone such as +0100"


def unknown_date_part(name: str, known: Iterable[str]) -> str:
    """An unknown part of a date."""
    return f"{name[:20]!r} is not a part of a date; use {listed(known, 'or')}"


def not_a_variable_name(name: str) -> str:
    """Text that cannot be the name of a variable."""
    return f"{name[:40]!r} is not a variable name"


# ---------------------------------------------------------------- counting


def not_a_throttle(text: str) -> str:
    """Text that is no limit of a throttle."""
    return f'"{text[:40]}" is not a throttle; write events/seconds, such as "60/3", both above 0'


def not_an_epsilon(text: str) -> str:
    """Text that is not a share of a throttle."""
    return f'"{text[:40]}" is not a share; write a number above 0 and below 1, such as "0.95"'


def unknown_throttle(name: str, create: str) -> str:
    """A throttle that was not created, or is forgotten."""
    return f"there is no throttle {name[:80]!r}; call {create} first, in every run"


def unknown_gauges(cache: str) -> str:
    """A cache of gauges that was not created."""
    return f"there is no cache {cache[:80]!r}; call ec_gauge_cache_init first, in every run"


def unknown_cache(cache: str) -> str:
    """A cache that the configuration does not declare."""
    return (
        f'the cache {cache[:80]!r} is not declared; write Cluster {{ Replicate "cache" {{ replication_name = "…" }} }}'
    )


def not_a_life(text: str) -> str:
    """Text that is not a time to live."""
    return f'"{text[:40]}" is not a time; write seconds, or a number with M or H, such as "5M"'


def not_a_monitor(text: str) -> str:
    """Text that does not describe windows."""
    return f'"{text[:40]}" is not a monitor; write seconds,windows, such as "300,6", both above 0'


def no_monitor(asked: str, monitors: Iterable[tuple[int, int]]) -> str:
    """A monitor that the module does not have."""
    known = ", ".join([f'"{interval},{number}"' for interval, number in monitors]) or "none"
    return f"inbound_audit has no monitor {asked}; it has {known}"


def no_windows(first: int, last: int, number: int) -> str:
    """Windows that a series does not have."""
    return f"there are no windows {first} to {last}; use 0, the current one, to {number - 1}"


def no_series() -> str:
    """A series without a name."""
    return "the series has no name"


def no_mask(mask: int, most: int) -> str:
    """A mask that the address does not have."""
    return f"the mask {mask} is not a number from 0 to {most}"


def not_a_network(text: str) -> str:
    """Text that is not a network."""
    return f'{text[:80]!r} is not a network; write "192.0.2.0/24", "[2001:db8::]/64", or "/24" for the client\'s'


def no_service(name: str) -> str:
    """A service that is not Momentum's."""
    return f"there is no service {name[:40]!r}; write SMTP"


def cannot_count() -> str:
    """Script_Store, or the keeper, does not answer."""
    return "the shared counts are not available, and On_Store_Error is defer"
