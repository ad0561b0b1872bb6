"""sievelib: Momentum 2.2's module with more script functions. Here they are always there, so the stanza does nothing."""
