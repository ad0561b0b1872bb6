"""Which value of an option is in force, for whom, and where it was set.

A `Place` is a scope, a `Setting` a value with its place. `Scopes` answers for bindings and domains, a `Listener` for
clients. `acl` reads the forms of 2.2 and 4.x alike.
"""
