"""DMARC (RFC 9989): the record, the tree walk, the author's domain, alignment, and the verdict about a message.

- `record` reads a policy record.
- `walk` finds the record that applies to a domain, and its organizational domain.
- `author` finds the author's domains in a message's From fields.
- `policies` finds only the policy of a domain.
- `evaluation` joins them with what SPF and DKIM found.

Nothing here knows SMTP, modules or options.
"""
