"""Mail as text: MIME structure, fields, addresses, character sets. Nothing here knows scripts or sessions.

A `Structure` is a message with its `Part`s. A sender writes all of it, so each step costs what its input is long.
"""
