"""Lists of networks: which a script defines from a file or a datasource, and which operators fill from the console.

A `Definition` says where a list comes from. A `Table` is the list as it is asked: sorted ranges in a file that all
workers map. An `Entry` is one network that an operator listed, with a reason and an end.
"""
