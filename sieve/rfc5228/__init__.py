"""Standard Sieve: RFC 5228 with the extensions that make sense in a proxy, read and run by the machinery of Sieve++.

What differs is here: how strings are filled in (`parsing`), what must be required (`checking`), and the commands and
tests themselves (`actions`, `tests`, `dates`), of which none but `stop` ends a script.
"""
