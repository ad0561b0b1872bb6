"""The history: what happened to each message, kept for some days, so that it can be explained later.

Each process's `Sender` takes the lines of history events in the log's thread and sends them to the control process,
where a `Receiver` hands them to the `Writer`: one SQLite file a day. `search` reads these files, whether or not the
server runs, and `story` makes sentences of what it finds. The history is not the log: lines that the log's level
leaves out may be in it, and it is never sent anywhere.
"""
