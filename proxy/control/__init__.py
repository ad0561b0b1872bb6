"""The control process: what observes the server. No mail waits for it.

`ControlService` starts and stops its parts. `Observers` takes the rows that other processes send. If the process dies,
it is started again, and what was sent to it meanwhile is lost.
"""
