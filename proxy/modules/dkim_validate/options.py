"""The options of `dkim_validate` and `opendkim`."""

from __future__ import annotations

from typing import Literal

from config.schema.options import option
from config.schema.specs import ModuleSpec
from proxy.options.keys import KeyOptions


class DkimOptions(KeyOptions):
    """Verifies signatures. It refuses nothing: scripts read the results."""

    add_authentication_results: bool = option(True, doc="Write the results into Authentication-Results.")
    context_variable: str = option("dkim_status", doc="Context variable of the message that gets the result.")
    shadow: bool = option(False, doc="No effect, because this module refuses nothing.")
    on_error: Literal["defer", "accept"] = option(
        "accept", doc="Action if the module itself fails: reply 451, or let the mail pass."
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
    summary="The name of dkim_validate in 4.x. Ringback's does not sign.",
    ignored=_SIGNS,
    effects={"dkim_domain": "authenticates", "key": "authenticates"},
    also="dkim_validate",
)
