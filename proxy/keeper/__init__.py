"""The keeper: with several workers, one process that asks exchangers for all of them and knows what was found out.

It owns what must be one truth for the machine: the cache of verdicts, single flight, breakers, storms, budgets, and
the store's file. `door` is how a worker reaches it, `link` a connection, `frames` and `messages` what goes over it.
`client` is what a worker has in place of a verifier, `service` what the keeper does with questions, `handover` how the
keeper of a new configuration takes over. With one worker there is no keeper: the verifier lives in the worker.
"""
