"""Counting: what all workers of a machine, or all machines of a site, count together.

An *operation* (`operations`) is one atomic step: count in a window, take a token, lease a place, remember a triplet.
`base.Counting` is whatever performs operations: `memory` in one process, the client of the keeper in a worker that has
neighbours (`proxy.keeper`), `redis` for several machines; `sharing` counts here while Redis is down. `file` writes what
outlives a restart. `opening` chooses.
"""
