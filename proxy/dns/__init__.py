"""DNS with the answers that mail needs told apart: a `Resolver` asks c-ares, and a `stub` again if that is not clear."""
