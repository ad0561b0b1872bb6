"""Declare the options of a stanza, once.

A stanza's options are a subclass of `Options`. Each attribute is one option, named in lower case:

    class CallbackOptions(Options):
        timeout: Seconds = option(25, ge=1, le=300, zero="refused", doc="How long a whole probe may take.")

Binding, checks, console and generated reference use the declaration through `config.schema.declared`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Zero: TypeAlias = Literal["no limit", "off", "automatic", "refused"]
"""What 0 means for a number. `automatic`: Ringback chooses as `doc` says; for a duration this is also a warning."""


class Options(BaseModel):
    """The options of one stanza. They are immutable, and only declared ones are accepted."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def option(  # a factory of pydantic fields, which are typed Any by design
    default: Any = ...,
    *,
    doc: str,
    aliases: tuple[str, ...] = (),
    unit: str | None = None,
    ge: float | None = None,
    le: float | None = None,
    zero: Zero | None = None,
    reloadable: bool = True,
    secret: bool = False,
    scopes: tuple[str, ...] | None = None,
    live: bool = True,
    repeats: bool = False,
    default_factory: Callable[[], Any] | None = None,
) -> Any:
    """Declare one option.

    Args:
        default: its value if it is not set; without a default, it must be set.
        doc: one line for the operator.
        aliases: other names, such as its name in another version of Momentum.
        unit: what the number counts, if the type does not say so.
        ge: the least value.
        le: the greatest value.
        zero: what 0 means; required for every number.
        reloadable: whether it can change without a restart.
        secret: its value is never shown; or, for a path, other users must not be able to read the file.
        scopes: the scopes, besides the global one, that allow it; None means the same as in Momentum.
        live: whether it can change without a reload, for new sessions; a path never can.
        repeats: it may be written several times in one stanza; each adds to its list.
        default_factory: computes the default, instead of `default`.
    """
    extra: dict[str, Any] = {
        "aliases": list(aliases),
        "unit": unit,
        "zero": zero,
        "reloadable": reloadable,
        "secret": secret,
        "scopes": scopes and list(scopes),
        "live": live,
        "repeats": repeats,
    }
    if default_factory is not None:
        return Field(default_factory=default_factory, description=doc, ge=ge, le=le, json_schema_extra=extra)
    return Field(default, description=doc, ge=ge, le=le, json_schema_extra=extra)
