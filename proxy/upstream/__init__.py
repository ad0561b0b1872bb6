"""The way to the MTA behind: a pool of connections, and one relay a transaction that speaks over one of them.

An `Upstream` is where mail goes, a `Router` chooses one for a recipient, a `Pool` holds its connections. Nothing is
queued. The client's 250 is the upstream's 250; trouble upstream is 451, and the sender keeps the message.
"""
