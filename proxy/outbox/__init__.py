"""Messages that Ringback itself creates, stored durably until the next hop accepts them: the only queue there is.

An `OutboxFile` holds letters and their deliveries, an `OutboxStore` accesses it from the event loop, an `Outbox` is
the interface for sessions, and a `Deliverer` sends the letters. `composing` and `reports` write their content. Mail
from clients is never stored here.
"""
