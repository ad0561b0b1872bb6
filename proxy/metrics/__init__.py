"""Every metric, declared once, and the shared memory that they are counted in.

A `Metric` is a place in a block of 64-bit integers. `table` declares them. The `BOOK` is this process's block:
`BOOK.counts[i] += 1` counts, and `i` is looked up at load. A `Board` has the blocks of a configuration's processes,
and `reading` adds them up. `pages` makes the reference page. Nothing here makes HTTP.
"""
