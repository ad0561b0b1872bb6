"""How the options of a stanza are declared, once.

A stanza's options are a subclass of `Options`; each attribute is one option, its name the option's in lower case:

    class CallbackOptions(Options):
        timeout: Seconds = option(25, ge=1, le=300, zero="refused", doc="How long a whole probe may take.")

The declaration serves binding, the checks, the console and the generated reference: `config.schema.declared`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Zero: TypeAlias = Literal["no limit", "off", "automatic", "refused"]
"""What 0 means for a number. `automatic`: Ringback chooses as `doc` says; for a time that is a warning, too."""


class Options(BaseModel):
    """The options of one stanza: immutable, and nothing but what is declared."""

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
    default_factory: Callable[[], Any] | None = None,
) -> Any:
    """Declare one option.

    Args:
        default: its value when it is not set; none means that it must be set.
        doc: one line for the operator.
        aliases: other names it is written by, such as its name in another line of Momentum.
        unit: what the number counts, where the type does not say it.
        ge: the least value.
        le: the greatest value.
        zero: what 0 means; every number must say so.
        reloadable: whether it can change without a restart.
        secret: it holds a secret, which is never shown; or it names a file with one, which others must not read.
        scopes: the scopes besides the global one where it may stand; None takes those that Momentum gives it.
        default_factory: makes the default, instead of `default`.
    """
    extra: dict[str, Any] = {
        "aliases": list(aliases),
        "unit": unit,
        "zero": zero,
        "reloadable": reloadable,
        "secret": secret,
        "scopes": scopes and list(scopes),
    }
    if default_factory is not None:
        return Field(default_factory=default_factory, description=doc, ge=ge, le=le, json_schema_extra=extra)
    return Field(default, description=doc, ge=ge, le=le, json_schema_extra=extra)
