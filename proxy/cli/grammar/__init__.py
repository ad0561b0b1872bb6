"""What all commands have in common: help, errors of usage, man pages, completion, and the schema of `--json`.

Everything here is made from the tree of commands (`tree`). To add a command, register it in `proxy.cli.__main__`.
"""
