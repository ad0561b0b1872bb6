"""Standard Sieve: RFC 5228 with the extensions that make sense in a proxy, built on the code of Sieve++.

This package holds the differences: string substitution (`parsing`), required extensions (`checking`), and the commands
and tests (`actions`, `tests`, `dates`). Commands take effect when the script ends.
"""
