"""Variables of standard Sieve (RFC 5229)."""

from __future__ import annotations

from sieve.library import VariableName, sieve_function
from sieve.rfc5228.state import GLOBAL, state_of
from sieve.run.runtime import Frame


@sieve_function(
    dialect="rfc5228",
    extension="variables",
    constants=("name",),
    exclusive=(("lower", "upper"), ("lowerfirst", "upperfirst")),
)
def set(  # noqa: A001 - the command's name
    frame: Frame,
    name: VariableName,
    value: str,
    *,
    lower: bool = False,
    upper: bool = False,
    lowerfirst: bool = False,
    upperfirst: bool = False,
    quotewildcard: bool = False,
    length: bool = False,
) -> None:
    """Set a variable, with modifiers applied in their order of precedence (RFC 5229, 4)."""
    if lower or upper:
        value = value.lower() if lower else value.upper()
    if lowerfirst or upperfirst:
        first = value[:1].lower() if lowerfirst else value[:1].upper()
        value = first + value[1:]
    if quotewildcard:
        value = "".join(f"\\{char}" if char in "*?\\" else char for char in value)
    if length:
        value = str(len(value))
    frame.variables[name] = value
    shared = state_of(frame).globals
    if name in shared:
        frame.variables[GLOBAL + name] = value
    elif name.removeprefix(GLOBAL) in shared:
        frame.variables[name.removeprefix(GLOBAL)] = value
