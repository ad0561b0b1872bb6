"""sievelib: Momentum 2.2 needs it for some script functions. Here they are always there; the stanza does nothing."""
