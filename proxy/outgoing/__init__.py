"""The client side of SMTP for relay, probes and outbox: dial, greet, send an envelope, send content.

A `Wire` is a connection after EHLO. Commands go out, replies come back in order, and anything else breaks it.
"""
