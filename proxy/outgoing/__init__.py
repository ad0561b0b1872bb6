"""The client side of SMTP, once, for relay, probes and outbox: dial, greet, say an envelope, send content.

A `Wire` is a connection on which EHLO is done: commands go out, replies come back in order, anything else breaks it.
"""
