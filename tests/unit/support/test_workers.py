"""Tests wait a lot, so there is one process more than there are cores."""

import gc
import os

from tests.support.workers import pytest_xdist_auto_num_workers


def test_there_are_two_processes_more_than_there_are_cores() -> None:
    assert pytest_xdist_auto_num_workers() == len(os.sched_getaffinity(0)) + 2


def test_what_was_collected_is_not_looked_through_for_garbage_again() -> None:
    assert gc.get_freeze_count() > 10_000
