"""The text of a configuration: from characters to a tree, and back to a canonical layout.

The `lexer` produces tokens, `brackets` reads values and finds unclosed brackets, the `parser` builds a tree of `nodes`,
`includes` reads included files, and the `formatter` writes a tree by the rules of `layout`. The meaning of options is
not known here.
"""
