"""Messages that Ringback makes itself, kept durably until the MTA behind has them: the only queue there is.

An `OutboxFile` holds letters and their deliveries, an `OutboxStore` asks it from the event loop, an `Outbox` is what
sessions see, a `Deliverer` brings the letters away. `composing` and `reports` write what is in them. Mail that clients
send is never here.
"""
