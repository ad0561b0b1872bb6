"""The limits on probes: budgets, breakers, forgery storms, and the queue for places."""
