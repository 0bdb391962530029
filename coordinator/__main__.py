"""`python -m coordinator` is `dtm`."""

from coordinator.cli.main import main

main(prog_name="dtm")
