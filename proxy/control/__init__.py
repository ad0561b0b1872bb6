"""The control process, which observes the server. No mail waits for it.

`ControlService` starts and stops its parts. `Observers` takes the rows that other processes send. If the process dies,
it is restarted, and what was sent to it in between is lost.
"""
