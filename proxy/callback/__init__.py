"""Callback verification: does the exchanger of an address take mail for it?

It is asked as an SMTP client would ask, without a message. `resolve` finds the exchangers, `probe` holds one
conversation, `verdict` says what the answer means, `verifier` joins them with a cache, one probe in flight an address,
and limits. The words pass, fail, transient and error are Momentum's.
"""
