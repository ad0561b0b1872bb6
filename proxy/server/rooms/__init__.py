"""What workers and the keeper answer when the control process asks, one file for each subject.

Each has one function that returns its questions by name. A question takes plain data and returns plain data; text from
outside is escaped here. `of_worker` joins them for a worker, `of_keeper` what the keeper answers if there is one.
"""
