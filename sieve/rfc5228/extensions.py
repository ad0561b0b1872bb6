"""The extensions that a script can require, their tags, and the extensions that have no use in a proxy."""

from __future__ import annotations

SUPPORTED = frozenset(
    {
        "body",
        "comparator-i;ascii-casemap",
        "comparator-i;ascii-numeric",
        "comparator-i;octet",
        "comparator-i;unicode-casemap",
        "copy",
        "date",
        "duplicate",
        "editheader",
        "encoded-character",
        "envelope",
        "environment",
        "ereject",
        "ihave",
        "include",
        "index",
        "reject",
        "regex",
        "relational",
        "subaddress",
        "variables",
    }
)

WITH_FILEINTO = frozenset({"fileinto", "mailbox"})
"""More of them, if fileinto adds a field."""

OF_TAG = {
    "value": "relational",
    "count": "relational",
    "regex": "regex",
    "quoteregex": "regex",
    "user": "subaddress",
    "detail": "subaddress",
    "copy": "copy",
    "create": "mailbox",
    "index": "index",
}
"""The extension that a tag needs, in addition to its function's extension."""

OF_COMPARATOR = {
    "i;ascii-numeric": "comparator-i;ascii-numeric",
    "i;unicode-casemap": "comparator-i;unicode-casemap",
}
"""The comparators that must be required (RFC 5228, 2.7.3)."""

GRAMMAR = frozenset({"encoded-character", "variables"})
"""Extensions that change how a script is read: `ihave` cannot enable them (RFC 5463, 4)."""

_ELSEWHERE = {
    "convert": "convert",
    "enotify": "notify valid_notify_method notify_method_capability",
    "envelope-deliverby": "",
    "envelope-dsn": "",
    "extlists": "valid_ext_list",
    "extracttext": "extracttext",
    "enclose": "enclose",
    "fcc": "",
    "fileinto": "fileinto",
    "foreverypart": "foreverypart break",
    "imap4flags": "setflag addflag removeflag hasflag",
    "imapflags": "mark unmark",
    "imapsieve": "",
    "mailbox": "mailboxexists",
    "mailboxid": "mailboxidexists",
    "mboxmetadata": "metadata metadataexists",
    "mime": "",
    "notify": "denotify",
    "processcalendar": "processcalendar processimip",
    "redirect-deliverby": "",
    "redirect-dsn": "",
    "replace": "replace",
    "servermetadata": "servermetadata servermetadataexists",
    "snooze": "snooze",
    "spamtest": "spamtest",
    "spamtestplus": "",
    "special-use": "specialuse_exists implicit_keep_target",
    "vacation": "vacation",
    "vacation-seconds": "",
    "virustest": "virustest",
}
"""Registered extensions that need a mailbox, a user or a scanner, with their actions and tests."""

_OF_VENDORS = "pipe filter execute report debug_log log eval expire unexpire expiration hasexpiration jmapquery"
_ENVELOPE = "notify ret orcpt envid bytimerelative bytimeabsolute bymode bytrace"
_TAGS_ELSEWHERE = (
    "flags list mime anychild create fcc mailboxid specialuse notify ret bytimerelative bytimeabsolute bymode bytrace "
    "eval encodeurl type subtype contenttype param"
)

COMMANDS_ELSEWHERE = frozenset(" ".join((*_ELSEWHERE.values(), _OF_VENDORS)).split())
WITHOUT_MAILBOX = frozenset(
    f"convert extracttext enclose foreverypart break replace spamtest virustest valid_ext_list :mime :anychild :list "
    f":notify :ret :bytimerelative :bytimeabsolute :bymode :bytrace :eval :encodeurl {_OF_VENDORS} "
    ":type :subtype :contenttype :param".split()
) | {f'envelope "{name}"' for name in _ENVELOPE.split()}
"""Those of them that need no mailbox, but something else that Ringback does not have."""

ENVELOPE_ELSEWHERE = frozenset(_ENVELOPE.split())
TAGS_ELSEWHERE = frozenset(_TAGS_ELSEWHERE.split())


def is_elsewhere(extension: str) -> bool:
    """Tell whether an extension exists, but has no use in a proxy.

    `vnd.` is for vendors (RFC 5228, 6.1), and some have `x-`.
    """
    return extension in _ELSEWHERE or extension.startswith(("vnd.", "x-"))
