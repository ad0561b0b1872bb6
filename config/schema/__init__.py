"""What may be written: options and modules as the program declares them, and how values are read.

`Options` and `option` declare a stanza's options, `specs` a module and the whole schema, `values` the types and
`readers` how text becomes them. `declared` knows what was declared and binds it, `binding` gathers what stanzas set,
`momentum` knows the names that Momentum has.
"""
