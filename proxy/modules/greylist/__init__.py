"""greylist: the first mail from an unknown combination of client, sender and recipient is deferred.

- `options.py` declares the options.
- `keys.py` makes the key of a triplet: network or SPF domain, sender without what changes each time, recipient.
- `whitelists.py` reads postgrey's lists of clients and recipients.
- `greylister.py` decides, with what counts for the machine or the site (`proxy.counting`).
- `module.py` hooks into RCPT TO and, for the null sender, into the end of the message.
- `functions.py` lets scripts ask.
"""
