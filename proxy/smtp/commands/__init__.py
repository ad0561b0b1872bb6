"""The SMTP commands, in the order of RFC 5321 section 4.1.1: hello, mail, rcpt, data; then simple, tls, auth, opening.

Each is a function of the dialogue and its argument. It returns the reply, or a `Pending` if it must wait.
"""
