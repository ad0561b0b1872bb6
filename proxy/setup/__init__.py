"""The first configuration: a new administrator's answers, and the file made from them.

`postfix` and `exim` read the files of these servers for the answers that are already there, `answers` says what an
answer may be, and `writing` makes the text. Nothing here asks, prints or writes: `ringback config init` does.
"""
