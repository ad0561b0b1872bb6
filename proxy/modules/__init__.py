"""The modules that a configuration can load, one folder each: its options, and the validator it becomes.

A module is prepared when the configuration is loaded (scripts are compiled then, and mistakes found), and started in
each worker with its `Services`. Modules never import each other: one that asks exchangers makes `Callbacks`, which the
worker gives to all.
"""
