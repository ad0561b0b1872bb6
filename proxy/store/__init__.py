"""Shared state that outlives a session: entries that expire, token buckets, and locks that expire.

A `Store` keeps it in memory (one worker), in SQLite (the workers of one machine, across restarts) or in Redis or Valkey
(several machines). `StoreUrl` says where, and `open_store` opens it. An unusable store raises `StoreUnavailable`; the
service uses a `FallingBack`, which then continues in memory. Nothing here knows what a key or a value means.
"""
