"""The options of `dkim_validate` and `opendkim`: Momentum's key cache, and the time limit."""

from __future__ import annotations

from typing import Literal

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds


class DkimOptions(Options):
    """Verifies signatures. It refuses nothing: scripts read the results."""

    add_authentication_results: bool = option(True, doc="Write the results into Authentication-Results.")
    context_variable: str = option("dkim_status", doc="Context variable of the message that gets the result.")
    keycache_size: int = option(2048, zero="refused", doc="Most public keys to keep.", ge=1, le=1_000_000)
    pos_keycache_ttl: Seconds = option(300.0, zero="off", doc="How long to keep a key.", unit="seconds")
    neg_keycache_ttl: Seconds = option(
        3600.0, zero="off", doc="How long to remember that a domain has no usable key.", unit="seconds"
    )
    shadow: bool = option(False, doc="No effect, because this module refuses nothing.")
    timeout: Seconds = option(
        10.0,
        zero="refused",
        doc="Time limit for all keys of a message; after it the result is temperror.",
        unit="seconds",
    )
    on_error: Literal["defer", "accept"] = option(
        "accept", doc="Action if the module itself fails: answer 451, or let the mail pass."
    )


_SIGNS = (
    "base_domain", "body_canon", "body_length_limit", "copy_headers", "digest", "dk_domain", "dkim_domain",
    "header_canon", "headerlist", "identity", "key", "lifetime", "oversign_headerlist", "selector", "sign",
    "sign_condition", "skip_headerlist", "testing",
)  # fmt: skip
"""Options of Momentum's signers."""

SPEC = ModuleSpec(
    type="dkim_validate",
    options=DkimOptions,
    lines=("Validate validate/dkim",),
    summary="DKIM (RFC 6376): whether a message's signatures are valid.",
)

OPENDKIM_SPEC = ModuleSpec(
    type="opendkim",
    options=DkimOptions,
    summary="The name of dkim_validate in 4.x. It does not sign.",
    ignored=_SIGNS,
    effects={"dkim_domain": "authenticates", "key": "authenticates"},
    also="dkim_validate",
)
