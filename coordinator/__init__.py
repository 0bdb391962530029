"""dtm-coordinator: a distributed-transaction server that speaks the DTM protocol."""

__version__ = "0.1.0"
