"""The content of mail: MIME structure, fields, addresses, character sets. Independent of scripts and sessions.

A `Structure` is a message with its `Part`s. The sender controls all input, so every step takes linear time.
"""
