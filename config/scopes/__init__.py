"""Find the value of an option in force for a client, domain or binding, and its origin.

A `Place` is a scope, a `Setting` a value with its place. `Scopes` handles bindings and domains, `Listener` handles
clients. `acl` reads the forms of 2.2 and 4.x.
"""
