"""The options of `spf_v1`: Momentum's, and the time limit."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from config.schema.options import Options, option
from config.schema.specs import ModuleSpec
from config.schema.values import Seconds
from proxy.options.codes import PASSES, RefusalCode

_TERM = re.compile(
    r"[-+?~]?(?:all|(?:include|exists|ip4|ip6):[!-~]+|ptr(?::[!-~]+)?|(?:a|mx)(?:[:/][!-~]+)?)|[a-z][\w.-]*=[!-~]*",
    re.ASCII | re.IGNORECASE,
)
"""A mechanism or a modifier (RFC 7208, 12)."""


def _rule(text: str) -> str:
    if not all(_TERM.fullmatch(term) for term in text.split()):
        raise ValueError('write the terms of an SPF record, such as "?all"')
    return text


def _code(result: str) -> RefusalCode:
    code: RefusalCode = option(
        PASSES, zero="refused", doc=f"Reply code if the result is {result}. 250: scripts decide."
    )
    return code


class SpfOptions(Options):
    """Checks MAIL FROM, or the EHLO name if MAIL FROM is empty. By default it rejects only nonexistent domains."""

    default_rule: Annotated[str, AfterValidator(_rule)] = option(
        "?all", doc="Terms for domains that have no SPF record. Empty: the result is `none`."
    )
    add_headers: bool = option(True, doc="Add a Received-SPF field.")
    add_authentication_results: bool = option(True, doc="Write the result into Authentication-Results.")
    context_variable: str = option("spf_status", doc="Context variable of the message that gets the result.")
    pass_code: RefusalCode = _code("pass")
    softfail_code: RefusalCode = _code("softfail")
    fail_code: RefusalCode = _code("fail")
    unknown_code: RefusalCode = _code("neutral or none")
    permerror_code: RefusalCode = _code("permerror")
    temperror_code: RefusalCode = _code("temperror")
    nxdomain_code: RefusalCode = option(
        PASSES,
        zero="refused",
        doc="Reply code if the sender's domain does not exist. In a 2.2 line, the default is 550.",
    )
    fail_fallback_string: str = option(
        "SPF validation failure", doc="Text of the refusal for fail, if the domain has no explanation (`exp=`)."
    )
    softfail_fallback_string: str = option("SPF validation soft failure", doc="Text of the refusal for softfail.")
    nxdomain_override_string: str = option(
        "Could not resolve sender's domain", doc="Text of the refusal for a domain that does not exist."
    )
    temperror_override_string: str = option("Temporary SPF failure", doc="Text of the refusal for temperror.")
    delay_check: bool = option(False, doc="Check at the first RCPT TO instead of MAIL FROM.")
    shadow: bool = option(False, doc="Only log what would be rejected.")
    timeout: Seconds = option(
        10.0, zero="refused", doc="Time limit for one check; after it the result is temperror.", unit="seconds"
    )
    on_error: Literal["defer", "accept"] = option(
        "accept", doc="Action if the module itself fails: reply 451, or let the mail pass."
    )


SPEC = ModuleSpec(
    type="spf_v1",
    options=SpfOptions,
    lines=("Validate validate/spf",),
    line_defaults=("nxdomain_code = 550",),
    summary="SPF (RFC 7208): whether the sender's domain allows the client to send its mail.",
)
