"""The options that Ringback supports, and their value types. Each is declared once, here or in its module.

`core` is the global scope: it adds its own options to `inbound` and `outbound`. `tls` applies to both sides.
"""
