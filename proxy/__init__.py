"""The server: an SMTP proxy that runs policy while the client waits, and relays within the same transaction.

CONTRIBUTING.md explains the terms (client, next hop, session, transaction, phase, validator, verdict, probe) and has a
map of the packages.
"""
