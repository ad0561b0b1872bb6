"""Errors that can be found before a script runs: names, arguments, phases, unreachable code.

`binding` matches arguments with parameters, the `checker` walks the nodes, `reach` finds unreachable code.
"""
