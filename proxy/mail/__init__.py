"""Mail data types: session, transaction, path, message, reply, verdict. No sockets.

A `Session` is one client connection, a `Transaction` one MAIL FROM with its recipients, a `Path` an address in it, a
`Message` its content, a `Reply` a peer's reply. A `Validator` checks a session in a phase; its result is a
`Verdict`.
"""
