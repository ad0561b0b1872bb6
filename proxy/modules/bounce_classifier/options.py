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
        doc="File with rules about what hosts say in delivery reports: `domain,code,text` in each line. An empty "
        "domain means all; in a text, `|` stands for any characters.",
        aliases=("user_smtp_classification_overide",),
    )
    user_mdn_classification_override: ConfigPath | None = option(
        None,
        doc="File with rules about the text of other messages: `code,text` in each line.",
        aliases=("user_mdn_classification_overide",),
    )
    refresh: Seconds = option(
        300.0, zero="off", doc="How often the files are read again, if they have changed.", unit="seconds"
    )
    custom_classes: Mapping[str, str] = option(
        default_factory=dict, doc='Codes of your own, below 100, with their texts: `[ 99 = "profanity" ]`.'
    )


SPEC = ModuleSpec(
    type="bounce_classifier",
    options=BounceOptions,
    lines=("Module generic/bounce_classifier",),
    summary="Rules of your own for the script function `ec_bounce_classify`.",
)
OVERRIDE = ModuleSpec(
    type="bounce_classifier_override",
    options=BounceOptions,
    lines=("Module generic/bounce_classifier_override",),
    summary="The name of bounce_classifier in Momentum 4.",
)
