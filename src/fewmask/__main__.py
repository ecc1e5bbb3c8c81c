"""`python -m fewmask` is the `fewmask` command."""

from fewmask.cli.start import main

main()
