"""The processes: a supervisor binds, forks, reloads and restarts; a worker serves on one event loop.

A `Generation` is the workers of one configuration. The `rehearsal` builds in a child what `serve` would, `pulse` and
`watch` find a worker that hangs.
"""
