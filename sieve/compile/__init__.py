"""Compile nodes to closures. A `Code` is a constant, or a callable that takes the frame of a run."""
