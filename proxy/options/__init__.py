"""The options that Ringback acts on, and the types of their values: each option is declared once, here or in its module."""
