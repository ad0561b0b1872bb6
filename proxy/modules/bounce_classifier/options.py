"""The options of `bounce_classifier`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from config.errors import not_a
from config.language.nodes import String, Value, Word
from config.schema.options import Options, option
from config.schema.readers import ReadContext, Unreadable, ValueReader, reader_for
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, Seconds

_BEGIN = ":datasource:"


@dataclass(frozen=True, slots=True)
class RulesQuery:
    """A query whose rows are rules."""

    cache: str
    query: str

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{_BEGIN}{self.cache}:{self.query}"


def _read(value: Value, reading: ReadContext) -> Path | RulesQuery:
    text = value.text if isinstance(value, Word | String) else ""
    if not text.startswith(_BEGIN):
        return cast(Path, reader_for(ConfigPath).read(value, reading))
    cache, _, query = text.removeprefix(_BEGIN).partition(":")
    if not cache or not query.strip():
        raise Unreadable(not_a("a query", text, value.span, 'write ":datasource:NAME:QUERY"'))
    return RulesQuery(cache, query)


def _written(place: object) -> str:
    return '"' + str(place).replace("\\", "\\\\").replace('"', '\\"') + '"'


RulesPlace = Annotated[Path | RulesQuery, ValueReader(_read, 'a path or ":datasource:NAME:QUERY"', write=_written)]


class BounceOptions(Options):
    """Rules that decide before Ringback's own."""

    user_smtp_classification_override: RulesPlace | None = option(
        None,
        doc="File with rules for what hosts say in delivery reports, one `domain,code,text` per line. An empty "
        "domain matches all domains. `|` in a text matches any characters. Or a query whose rows have these columns: "
        '`":datasource:NAME:select domain, code, rule from …"`.',
        aliases=("user_smtp_classification_overide",),
    )
    user_mdn_classification_override: RulesPlace | None = option(
        None,
        doc="File with rules for the text of other messages, one `code,text` per line; or a query with these columns.",
        aliases=("user_mdn_classification_overide",),
    )
    refresh: Seconds = option(
        300.0,
        zero="off",
        doc="How often to reread the rules; files only if they have changed.",
        unit="seconds",
    )
    custom_classes: Mapping[str, str] = option(
        default_factory=dict, doc='Your own codes, below 100, with their texts: `[ 99 = "profanity" ]`.'
    )


_RULES_OF_MOMENTUM = (
    "enable_system_updates",
    "system_mdn_classification_override",
    "system_smtp_classification_override",
)
"""Options for the rules that Momentum's vendor sends."""

SPEC = ModuleSpec(
    type="bounce_classifier",
    options=BounceOptions,
    lines=("Module generic/bounce_classifier",),
    summary="Your own rules for the script function `ec_bounce_classify`.",
    ignored=_RULES_OF_MOMENTUM,
)
OVERRIDE = ModuleSpec(
    type="bounce_classifier_override",
    options=BounceOptions,
    lines=("Module generic/bounce_classifier_override",),
    summary="The name of bounce_classifier in Momentum 4.",
    ignored=_RULES_OF_MOMENTUM,
)
