"""The server side of SMTP: from a client's bytes to replies, over interfaces to policy, relay and outbox.

`protocol` is a session: it reads, executes and ends. `connection` has its bytes under deadlines, `dialogue` what the
commands need, `commands` a function for each. `state` is the table of legal commands; `plan` compiles a listener's
options. `data` and `chunks` find the end of the message, and `reception` takes it to the next hop. `ports` declares the
interfaces to other packages.
"""
