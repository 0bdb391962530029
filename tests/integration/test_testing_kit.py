"""The coordinator of the testing kit tells why a transaction hangs, as one that runs by itself does."""

from typing import Any

from aiohttp import ClientSession

from coordinator.testing import Kit, Says


async def test_it_tells_why_and_goes_on_when_time_passes() -> None:
    async with Kit() as kit, ClientSession() as session:

        async def show(gid: str) -> Any:
            async with session.get(f"{kit.http_url}/api/operate/transactions/{gid}") as answer:
                assert answer.status == 200
                return await answer.json()

        kit.branches.answer("/pay", Says.BROKEN, Says.BROKEN, Says.SUCCESS)
        saga = kit.dtm.saga().add(f"{kit.branches.http_url}/pay")
        await saga.submit()
        await kit.settle()
        shown = await show(saga.gid)
        assert (shown["why"]["code"], [it["times"] for it in shown["attempts"]]) == ("W15", [1])
        await kit.advance(20)
        assert [it["times"] for it in (await show(saga.gid))["attempts"]] == [2]
        await kit.advance(60)
        shown = await show(saga.gid)
        assert (shown["transaction"]["status"], shown["why"]["code"]) == ("succeed", "W40")
