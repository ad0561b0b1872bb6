"""From nodes to closures: a `Code` is a value that is known, or a callable that takes the frame of a run."""
