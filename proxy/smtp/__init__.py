"""The server side of SMTP: commands, their order, and replies.

`stream` reads and writes bytes under deadlines. `state` is the table of legal commands. `data` finds the end of the
message. `pipeline` asks the validators. `reception` takes one message through policy to the next hop. `protocol` has
the commands, and `conversation` runs a session. `ports` declares the interfaces to other packages.
"""
