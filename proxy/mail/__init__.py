"""What a conversation is about: session, transaction, paths, message, replies, verdicts. No sockets here.

A `Session` is one client connection, a `Transaction` one MAIL FROM with its recipients, a `Path` an address in it, a
`Message` its content, a `Reply` what a peer says. A `Validator` judges a session in a phase; a `Verdict` is what it
found.
"""
