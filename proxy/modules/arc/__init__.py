"""arc: whether the forwarders of a message vouch for it with an unbroken chain (RFC 8617). It seals nothing."""
