"""`python -m coordinator` is `dtm`."""

from coordinator.cli import main

main(prog_name="dtm")
