"""DNS with the distinctions that mail needs: a `Resolver` asks c-ares, and confirms unclear answers with a `stub`."""
