"""`python -m coordinator` is `dtm`."""

from coordinator.cli import dtm

dtm()
