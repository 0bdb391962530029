"""dtm-coordinator: a distributed-transaction server that speaks the DTM protocol."""

import logging

__version__ = "0.1.0"

# A program that uses the client decides what of it is shown, and where; until then nothing is.
logging.getLogger(__name__).addHandler(logging.NullHandler())
