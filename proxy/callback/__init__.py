"""Callback verification: does the mail exchanger of an address accept mail for it?

Ringback asks as an SMTP client would, without sending a message. `resolve` finds the exchangers, `probe` holds one
conversation, and `verdict` defines the result. `verifier` combines them with a cache, limits, and at most one probe in
flight per address. The words pass, fail, transient and error are Momentum's.
"""
