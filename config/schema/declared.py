"""Inspect declared options, and bind the written values to them.

Rules over several options are pydantic validators of their class. Their errors become diagnostics at the stanza's head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config import errors, naming
from config.diagnostics import Span
from config.findings import Findings
from config.language.nodes import Option, String, Word
from config.schema.options import Options, Zero
from config.schema.readers import NotOurs, ReadContext, Unreadable, ValueReader, reader_for

Bound = TypeVar("Bound", bound=Options)


@dataclass(frozen=True, slots=True)
class Declared:
    """One declared option: everything known about it without a file."""

    name: str
    aliases: tuple[str, ...]
    reader: ValueReader
    doc: str
    unit: str | None
    required: bool
    default: object
    ge: float | None
    le: float | None
    zero: Zero | None
    reloadable: bool
    secret: bool
    live: bool
    repeats: bool
    scopes: frozenset[str] | None


@cache
def declared(model: type[Options]) -> Mapping[str, Declared]:
    """Return the options of a stanza by name, in order of declaration.

    Raises:
        TypeError: an option's type has no reader.
        ValueError: two options share a name.
    """
    hints = get_type_hints(model, include_extras=True)
    options = {name: _declared(name, hints[name], field) for name, field in model.model_fields.items()}
    names = [name for one in options.values() for name in (one.name, *one.aliases)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{model.__name__} declares {', '.join(sorted(twice))} twice")
    return options


def _declared(name: str, annotation: object, field: FieldInfo) -> Declared:
    extra: dict[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    scopes = extra.get("scopes")
    return Declared(
        name=name,
        aliases=tuple(alias.lower() for alias in extra.get("aliases", ())),
        reader=reader_for(annotation),
        doc=field.description or "",
        unit=extra.get("unit"),
        required=field.is_required(),
        default=_default(field),
        ge=next((constraint.ge for constraint in field.metadata if hasattr(constraint, "ge")), None),
        le=next((constraint.le for constraint in field.metadata if hasattr(constraint, "le")), None),
        zero=extra.get("zero"),
        reloadable=extra.get("reloadable", True),
        secret=extra.get("secret", False),
        repeats=extra.get("repeats", False),
        live=extra.get("live", True),
        scopes=None if scopes is None else frozenset(scopes),
    )


def _default(field: FieldInfo) -> object:
    """Return a default; None if computing it costs something, such as the host's name."""
    if field.is_required():
        return None
    if field.default_factory is not None:
        return {} if field.default_factory is dict else None
    return field.default


@cache
def names_of(model: type[Options]) -> Mapping[str, str]:
    """Return every name and alias, in lower case, with its attribute."""
    return {name: each.name for each in declared(model).values() for name in (each.name, *each.aliases)}


def bind(
    model: type[Bound],
    written: Mapping[str, Option],
    *,
    where: str,
    head: Span | None,
    findings: Findings,
    added: Mapping[str, tuple[object, ...]] | None = None,
    adjusted: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Bound | None:
    """Read every written option and create the stanza's options; None if any is wrong, which is reported.

    `where` names the stanza in messages, such as " in smtp_cbv"; `head` is where it begins; `added` is what stanzas add
    to options that can be written as stanzas; `adjusted` changes values that were read.
    """
    values: dict[str, Any] = {}
    failed = False
    for name, statement in written.items():
        try:
            values[name] = read_option(declared(model)[name], statement, findings, model)
        except Unreadable as wrong:
            wrong.report(findings)
            failed = failed or not isinstance(wrong, NotOurs)
    if failed:
        return None
    for name, more in (added or {}).items():
        values[name] = (*values.get(name, ()), *more)
    for name, adjust in (adjusted or {}).items():
        values[name] = adjust(values.get(name, ()))
    guessing = findings.errors > 0
    try:
        return model.model_validate(values)
    except ValidationError as refused:
        found = [each for each in refused.errors(include_url=False) if not (guessing and _may_follow(each))]
    for error in found:
        _report(error, written, where, head, findings)
    return None


def read_option(one: Declared, statement: Option, findings: Findings, model: type[Options] | None = None) -> object:
    """Read one option's value; `model` is the stanza's options, for values that contain options themselves.

    Raises:
        Unreadable: the value has the wrong type or is out of bounds.
    """
    value = one.reader.read(statement.value, ReadContext(statement.name.text, findings, model))
    if isinstance(value, int | float) and not isinstance(value, bool):
        below, above = one.ge is not None and value < one.ge, one.le is not None and value > one.le
        forbidden = value == 0 and one.zero == "refused"
        if below or above or forbidden:
            text = statement.value.text if isinstance(statement.value, Word | String) else str(value)
            bound = f"at least {one.ge:g}" if below else f"at most {one.le:g}" if above else "more than 0"
            raise Unreadable(errors.out_of_bounds(statement.name.text, bound, text, statement.value.span))
        if value == 0 and one.zero == "automatic" and one.unit == "seconds":
            findings.add(errors.zero_is_automatic(statement.name.text, one.doc, statement.value.span))
    return value


def _may_follow(found: ErrorDetails) -> bool:
    """Return whether an error may only follow from another error, because an unset option may be the one misread."""
    return found["type"] == "missing" or not found["loc"]


def _report(
    error: ErrorDetails, written: Mapping[str, Option], where: str, head: Span | None, findings: Findings
) -> None:
    """Turn a pydantic error into a diagnostic at the option's value, else at the stanza's head.

    The global scope has no head: its errors go to the last option that the message names.
    """
    name = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        findings.add(naming.option_is_required(name, where, head))
        return
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    statement = written.get(name)
    if statement is None and head is None:
        head = next(
            (other.value.span for option, other in reversed(list(written.items())) if option in reason.lower()), None
        )
    if statement is None:
        findings.add(naming.refused(name, reason, head))
    else:
        findings.add(naming.refused(statement.name.text, reason, statement.value.span))


def all_names(models: Sequence[type[Options]]) -> list[str]:
    """Return every name and alias of the options of these stanzas."""
    return [name for model in models for name in names_of(model)]
