"""The text of a script: parse it into nodes, or format it.

The `lexer` makes tokens, the `cursor` steps through them, the `parser` makes `nodes`. `macros` handles the `%{…}` in
strings, `formatting` the layout.
"""
