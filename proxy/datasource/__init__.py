"""Databases and directories that scripts, lists and logins query.

- `Datasources`: all of a process, by name; `rows` and `execute`.
- a *source*: one `Datasource` stanza, with its cache, its deadline and its servers.
- a *server*: one URI of a source, with its connections and its breaker.
- a *driver*: connects to one kind of server. No driver waits without a limit, and none blocks the event loop.
- `Rows`: a result, as text.
"""
