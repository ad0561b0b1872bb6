"""ARC chains (RFC 8617): reading the sets of a message, and verifying them with DKIM's means. Nothing here seals.

- `chain` collects the sets, and finds what is wrong with their form.
- `verifying` checks the newest message signature and all seals.
"""
