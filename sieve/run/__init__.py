"""A run of a script: values, matching, the frame, included scripts, and the words of run-time errors.

A `Script` is compiled and shared; a `Frame` is one run of it. `patterns` are linear, `backtracking` has those that are
not, in threads. `content` is the message as functions read it.
"""
