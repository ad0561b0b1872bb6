"""DNS with the distinctions that mail needs: a `Resolver` asks c-ares, and asks again with a `stub` if unclear."""
