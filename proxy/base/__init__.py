"""What the other packages build on: the log, tasks with owners, work in a forked child, closing of connections."""
