"""dkim_validate and opendkim: whether a message's signatures are true (RFC 6376)."""
