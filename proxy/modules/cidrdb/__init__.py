"""cidrdb: Momentum's module for lists of networks. Here the functions are always there, so its stanza has no effect."""
