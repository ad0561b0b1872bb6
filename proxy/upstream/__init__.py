"""The way to the next hop: a pool of connections, and one relay per transaction that uses one of them.

Nothing is queued. The client's 250 is the upstream's 250. Upstream trouble becomes 451: the sender keeps the message.
"""
