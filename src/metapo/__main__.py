"""`python -m metapo` is the command line."""

from metapo.cli import main

main()
