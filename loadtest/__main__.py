"""`python -m loadtest`: what `qwend-loadtest` does."""

from loadtest.cli import main

main()
