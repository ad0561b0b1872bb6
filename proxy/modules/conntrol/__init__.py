"""conntrol: a pause before the greeting, which exposes clients that do not wait for it."""
