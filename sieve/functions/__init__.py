"""The functions of the language, one module a family. `sieve.library.collect` finds every `@sieve_function` here."""
