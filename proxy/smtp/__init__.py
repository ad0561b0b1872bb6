"""The server side of SMTP: commands, their order, and replies.

`protocol` runs a session and dispatches to `commands`. `connection` holds bytes, replies and the timer. `state` is the
table of legal commands, and `plan` is what a listener's options leave to do. `data` finds the end of the message.
`pipeline` asks the validators. `reception` takes one message through policy to the next hop. `ports` declares the
interfaces to other packages.
"""
