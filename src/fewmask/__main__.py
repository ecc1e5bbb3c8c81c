"""`python -m fewmask` is the `fewmask` command."""

from fewmask.cli.main import main

main()
