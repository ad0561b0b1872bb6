"""The functions of the language, one module per family. `sieve.library.collect` finds every `@sieve_function` here."""
