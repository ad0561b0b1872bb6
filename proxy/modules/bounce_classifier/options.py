"""The options of `bounce_classifier`."""

from __future__ import annotations

from collections.abc import Mapping

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import ConfigPath, Seconds


class BounceOptions(Options):
    """Rules that decide before Ringback's own."""

    user_smtp_classification_override: ConfigPath | None = option(
        None,
        doc="File with rules for what hosts say in delivery reports, one `domain,code,text` per line. An empty "
        "domain matches all domains. `|` in a text matches any characters.",
        aliases=("user_smtp_classification_overide",),
    )
    user_mdn_classification_override: ConfigPath | None = option(
        None,
        doc="File with rules for the text of other messages, one `code,text` per line.",
        aliases=("user_mdn_classification_overide",),
    )
    refresh: Seconds = option(
        300.0, zero="off", doc="How often the files are read again, if they have changed.", unit="seconds"
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
