"""dmarc: the policy of the author's domain (RFC 9989), from what SPF and DKIM found.

- `options.py` declares the options.
- `findings.py` collects what other modules found: identifiers, and the second findings that a refusal needs.
- `module.py` evaluates and decides.

The protocol itself is in `proxy.dmarc`.
"""
