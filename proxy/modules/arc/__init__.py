"""arc: whether a message's forwarders vouch for it with an unbroken chain (RFC 8617). It does not seal."""
