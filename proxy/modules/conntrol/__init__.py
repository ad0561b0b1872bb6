"""conntrol: a pause before the greeting, in which a client that does not wait for it gives itself away."""
