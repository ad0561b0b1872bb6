"""DKIM signatures (RFC 6376, 8301, 8463): reading, canonical forms, keys, verifying and signing. No sockets.

A `Signature` is what a DKIM-Signature field says. A `HeardMessage` has the `BodyHashes`, which take the body as it
arrives. `KeyCache` finds public keys. A `Claim` is a signature with what it takes to judge it; `judged` returns a
`Judgement` of each.
"""
