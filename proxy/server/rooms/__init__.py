"""Answers of workers and the keeper to questions of the control process, one file per subject.

Each has one function that returns its questions by name. A question takes plain data and returns plain data; text from
outside is escaped here. `of_worker` joins them for a worker, `of_keeper` what the keeper answers if there is one.
"""
