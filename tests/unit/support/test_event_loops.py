"""Coroutine tests in tests/unit run twice: on uvloop, and with the first row of their table in debug mode."""

import asyncio

import pytest


async def test_the_loop_is_the_one_that_the_test_is_named_after(request: pytest.FixtureRequest):
    loop = asyncio.get_running_loop()
    assert request.node.callspec.id in {"uvloop", "debug"}
    assert loop.get_debug() is (request.node.callspec.id == "debug")
    assert type(loop).__module__.startswith("uvloop") is (request.node.callspec.id == "uvloop")


@pytest.mark.parametrize("row", [1, 2])
async def test_the_later_rows_of_a_table_run_on_uvloop_alone(row: int):
    assert row == 1 or not asyncio.get_running_loop().get_debug()
