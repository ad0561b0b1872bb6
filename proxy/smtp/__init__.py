"""The SMTP front: what the client says, in which order it may say it, and what it is answered.

`stream` reads and writes bytes under deadlines, `state` is the table of legal commands, `address` reads paths and
parameters, `data` finds the end of the message, `pipeline` asks the validators, `reception` takes one message through
policy to the upstream, and `protocol` is the conversation itself. `ports` names what all of them ask of others.
"""
