"""The replies to clients that a list has."""

from __future__ import annotations

import re

from proxy.mail import replies
from proxy.mail.replies import Reply
from proxy.modules.dnsbl.score import Hit

LONGEST_TEXT = 400
"""Characters of a zone's own text."""

_ENHANCED = re.compile(r"[45]\.\d{1,3}\.\d{1,3} ")
_DEFERRED = 451


def refuses(hit: Hit, own: str = "") -> Reply:
    """Return the refusal: in the zone's own words, the configuration's, or ours."""
    options = hit.zone.options
    if own:
        text = " ".join(own[:LONGEST_TEXT].split())
    else:
        text = (options.reason or "%s is listed by " + hit.zone.name).replace("%s", hit.what)
    return _reply(options.code, text)


def defers(hit: Hit) -> Reply:
    """Return the reply to mail that may come later."""
    return _reply(_DEFERRED, f"{hit.what} is listed by {hit.zone.name}, try again later")


def _reply(code: int, text: str) -> Reply:
    enhanced = "" if _ENHANCED.match(text) else f"{code // 100}.7.1 "
    return replies.from_policy(code, f"{enhanced}{text}")
