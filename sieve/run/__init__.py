"""Run compiled scripts.

A `Script` is compiled and shared; a `Frame` is one run of it. `patterns` match in linear time; `backtracking` runs all
other patterns in threads. `content` gives functions access to the message.
"""
