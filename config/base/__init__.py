"""Value helpers that all three packages share: normalized domains and IP addresses, and safe file access.

`domains` normalizes domains for comparison, and `ip` addresses and networks. `regular_files` opens files that an
operator names, `sources` reads a file as text, and `facade` exports a package's public names.
"""
