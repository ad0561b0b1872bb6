"""spf_v1: whether the sender's domain allows the client to send its mail (RFC 7208)."""
