"""What all three packages need of the language's values: domains, IP addresses and files in one form.

`domains` gives the one form in which domains are compared, `ip` that of addresses and networks, `regular_files`
opens files that an operator names, and `sources` reads one as text. `facade` is how packages show their public names.
"""
