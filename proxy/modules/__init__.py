"""The modules that a configuration can load. Each folder has a module's options and its validator.

A module is prepared when the configuration is loaded: scripts are compiled and errors reported. Each worker then
starts it with its `Services`. Modules never import each other. A module that asks exchangers makes `Callbacks`, which
the worker gives to all.
"""
