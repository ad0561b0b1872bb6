"""DNS with the answers that mail needs told apart: a `Resolver` asks c-ares, then a `stub` if that is not clear."""
