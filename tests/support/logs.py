"""Logging is the whole process's: what a test sets up is taken back after it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from loguru import logger

from coordinator.telemetry.log import stacks


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Take back handlers, levels, and loguru's sinks."""
    root = logging.getLogger()
    handlers, level, cooldown = root.handlers[:], root.level, stacks.cooldown_seconds
    try:
        yield
    finally:
        logger.remove()
        logging.captureWarnings(False)
        root.handlers[:] = handlers
        root.setLevel(level)
        stacks.cooldown_seconds = cooldown
        for name in ("coordinator", "grpclib", "opentelemetry"):
            logging.getLogger(name).setLevel(logging.NOTSET)
