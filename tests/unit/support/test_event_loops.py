"""Coroutine tests in tests/unit run twice: on uvloop and in asyncio's debug mode."""

import asyncio

import pytest


async def test_the_loop_is_the_one_that_the_test_is_named_after(request: pytest.FixtureRequest):
    loop = asyncio.get_running_loop()
    assert request.node.callspec.id in {"uvloop", "debug"}
    assert loop.get_debug() is (request.node.callspec.id == "debug")
    assert type(loop).__module__.startswith("uvloop") is (request.node.callspec.id == "uvloop")
