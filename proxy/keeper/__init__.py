"""The keeper: with several workers, one process that asks exchangers and counts for all of them.

It owns what must be one truth for the machine: the cache of verdicts, single flight, breakers, storms, budgets, what is
counted together, and the stores' files. `door` is how a worker reaches it, `reaching` how it stays connected, `link` a
connection, `frames` and `messages` what goes over it. `client` is what a worker has in place of a verifier, `counting`
what it has to count with; `service` is what the keeper does with questions, `counters` with operations, and `handover`
how the keeper of a new configuration takes over; `tenure` is all this from its begin to its end. With one worker there
is no such process: the worker is the keeper, and `only` is what it counts with.
"""
