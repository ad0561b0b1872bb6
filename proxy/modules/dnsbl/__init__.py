"""dnsbl: blocklists and allow lists in the DNS (RFC 5782), for clients, names, senders' domains and links.

- `options.py` declares the options of a stanza, `zones.py` the options of a zone; it also reads zones.
- `kinds.py` has a row for each kind of subject: where it is found, and what it needs. A new kind goes there.
- `module.py` has the hooks: it asks when something is known, and judges.
- `subjects.py` finds in a message what is looked up.
- `questions.py` makes the names that are asked.
- `lists.py` asks all zones at once, within one deadline; `score.py` adds up what they list.
- `codes.py` reads and matches answers, such as `127.0.0.[2..11]`.
- `words.py` has the replies.
- `health.py` switches a zone off whose test entries are wrong.
- `momentum.py` reads Momentum's `url_ripper` and `dns_rbl`; `ripping.py` and `functions.py` look up what scripts ask.
"""
