"""The options that Ringback acts on, and the types of their values. Each is declared once, here or in its module.

`core` is the global scope: the options of `inbound`, of `outbound`, and its own; `tls` holds for both sides.
"""
