"""Helpers that all three packages share: normalized domains and IP addresses, safe file access, time limits.

`domains` normalizes domains for comparison, and `ip` addresses and networks. `regular_files` opens files that an
operator names, `sources` reads a file as text, and `facade` exports a package's public names. `deadlines` limits times.
"""
