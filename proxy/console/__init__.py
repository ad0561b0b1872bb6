"""The console of the running server: commands, who may use them, and the Unix socket that takes them.

A `Command` is declared once, with words, arguments, role and help. The socket, `ringback console` and the page call the
same `Commands`. A command asks the workers and the keeper through `proxy.control.asking`, and returns a `Result`.
"""
