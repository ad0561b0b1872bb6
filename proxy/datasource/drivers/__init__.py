"""One module for each kind of server, imported when it is used. Each has `connecting`, which returns a `Connect`."""
