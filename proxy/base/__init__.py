"""What everything stands on: the log, tasks with owners, work in a child, connections closed for good."""
