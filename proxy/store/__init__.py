"""State that outlives a session and is shared: entries that expire, token buckets, and locks that expire.

A `Store` keeps it in memory (one worker), in SQLite (the workers of one machine, and across a restart) or in Redis or
Valkey (several machines); `StoreUrl` says which, `open_store` opens it. A store that cannot be used raises
`StoreUnavailable`; what the service holds is a `FallingBack`, which then goes on in memory. Nothing here knows what a
key or a value means.
"""
