"""iprev: whether the client's address has a name that resolves back to it (RFC 8601 section 3)."""
