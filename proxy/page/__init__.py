"""The page: a web page of the control process that shows what the server does, and why.

`Page` serves it. `Guard` looks at each request: `Passes` are signed cookies, which a one-time link or a password gives.
`Sampler` reads the numbers, `Live` the latest events, and `ladder_of` makes a session a picture of steps. It reads
shared memory, and what the history gets anyway, so it costs the workers nothing.
"""
