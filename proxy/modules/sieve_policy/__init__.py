"""sieve: Sieve++ scripts hooked into SMTP phases."""
