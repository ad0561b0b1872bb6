"""iprev: whether the client's address has a name that leads back to it (RFC 8601 section 3)."""
