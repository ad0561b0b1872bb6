"""`python -m proxy.cli` is `ringback`."""

from proxy.cli import main

main()
