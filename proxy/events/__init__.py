"""Every event that Ringback logs, declared once: Field, Event, EVENTS.

`fields` says what a field's name means, wherever it appears. `table` lists the events with their fields, level, metric,
and whether the history keeps them. `pages` makes the reference page and the JSON Schema. Nothing here logs.
"""
