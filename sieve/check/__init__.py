"""What is wrong with a script before it runs: names, arguments, phases, code that can never run.

`binding` pairs arguments with parameters, the `checker` walks the nodes, `reach` finds what cannot be reached.
"""
