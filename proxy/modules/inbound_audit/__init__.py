"""inbound_audit: counts what comes from each client, and which connections are open, for scripts and the console."""
