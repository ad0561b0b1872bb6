"""Tools for configurations: show, query, convert, compare, document."""
