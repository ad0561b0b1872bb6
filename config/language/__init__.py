"""The text of a configuration: from characters to a tree, and back to a canonical layout.

The `lexer` gives tokens, `brackets` finds what is not closed, the `parser` makes a tree of `nodes`, `includes` reads
further files, and the `formatter` writes a tree by the rules of `layout`. What an option means is not known here.
"""
