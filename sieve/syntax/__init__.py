"""The text of a script: from characters to nodes, and back to a canonical layout.

The `lexer` gives tokens, the `cursor` walks them, the `parser` makes `nodes`. `macros` knows the `%{…}` of strings.
"""
