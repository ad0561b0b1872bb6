"""What people do with a configuration besides running it: show it, ask it, convert it, compare two, document it."""
