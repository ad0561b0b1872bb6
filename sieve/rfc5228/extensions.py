"""The extensions that a script can require, and their tags."""

from __future__ import annotations

SUPPORTED = frozenset(
    {
        "body",
        "comparator-i;ascii-casemap",
        "comparator-i;ascii-numeric",
        "comparator-i;octet",
        "copy",
        "date",
        "encoded-character",
        "envelope",
        "ereject",
        "include",
        "index",
        "reject",
        "regex",
        "relational",
        "subaddress",
        "variables",
    }
)

OF_TAG = {
    "value": "relational",
    "count": "relational",
    "regex": "regex",
    "user": "subaddress",
    "detail": "subaddress",
    "copy": "copy",
    "index": "index",
    "last": "index",
}
"""The extension that a tag needs, in addition to its function's extension."""

OF_COMPARATOR = {"i;ascii-numeric": "comparator-i;ascii-numeric"}
"""The comparators that must be required (RFC 5228, 2.7.3)."""
