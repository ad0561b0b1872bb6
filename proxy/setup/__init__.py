"""The first configuration: what a new administrator answers, and the file that is made of it.

`postfix` and `exim` read the files of these servers for the answers that are already there, `answers` says what an
answer may be, and `writing` makes the text. Nothing here asks, prints or writes: `ringback config init` does.
"""
