"""dnsbl: blocklists and allow lists in the DNS (RFC 5782), for clients, names, senders' domains and links.

- `codes.py` reads and matches answers, such as `127.0.0.[2..11]`.
- `zones.py` declares a zone, and reads zones from the configuration.
- `questions.py` makes the names that are asked.
- `lists.py` asks all zones at once, within one deadline.
- `health.py` switches a zone off whose test entries are wrong.
- `momentum.py` reads Momentum's `url_ripper` and `dns_rbl`.
"""
