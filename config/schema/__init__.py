"""The schema: the options and modules that the program declares, and how values are read.

`Options` and `option` declare a stanza's options, `specs` a module and the whole schema. `values` defines the types,
and `readers` parses them from text. `binding` collects what stanzas set, `declared` binds it to the declared options,
and `momentum` knows Momentum's names.
"""
