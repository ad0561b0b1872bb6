"""dkim_validate and opendkim: whether a message's signatures are valid (RFC 6376)."""
